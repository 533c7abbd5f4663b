//! `haldane e-value`: the e-process of one test over blocks of counts. Nothing but arithmetic, so that a verdict can be
//! checked by hand.

use std::{
    io::{BufRead, Write},
    process::ExitCode,
};

use anyhow::Context;

use super::pipe::through;
use crate::decide::verdict::evidence::{ByBlock, Counts, Test};

const BLOCKS: &str = "\
Blocks are read from stdin, one per line: n_canary e_canary n_stable e_stable (requests and failed ones of the
candidate, then of the stable version; fractions are allowed; a # begins a comment). After each block the natural logarithm of the e-process is
printed; ln 100 = 4.6 convicts at alpha 1 %.";

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    test: Which,
}

#[derive(clap::Subcommand)]
enum Which {
    /// Null hypothesis: the candidate fails at most rho0 times as often as the stable version
    #[command(after_help = BLOCKS)]
    Ratio {
        /// How many times the stable version's rate is accepted
        #[arg(long)]
        rho0: f64,
        #[command(flatten)]
        common: Common,
    },
    /// Null hypothesis: at most a share p of the candidate's requests fails
    #[command(after_help = BLOCKS)]
    Threshold {
        /// The share that is accepted
        #[arg(long)]
        p: f64,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(clap::Args)]
struct Common {
    /// How many failures come together at most
    #[arg(long, default_value_t = 1.0)]
    phi: f64,
    /// Half of the prior mass on a fault from the start, the rest spread over so many further blocks [default: all of it
    /// on the start]
    #[arg(long, value_name = "N")]
    onset_blocks: Option<u32>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (test, common) = match &args.test {
        Which::Ratio { rho0, common } => (Test::Ratio { rho0: *rho0 }, common),
        Which::Threshold { p, common } => (Test::Threshold { p: *p }, common),
    };
    let mut process = ByBlock::new(test, common.phi, common.onset_blocks).map_err(anyhow::Error::msg)?;
    through(|input, out| each_line(input, &mut process, out))
}

fn each_line(input: impl BufRead, process: &mut ByBlock, out: &mut impl Write) -> anyhow::Result<()> {
    for (number, line) in input.lines().enumerate() {
        let at = || format!("line {}", number + 1);
        let line = line.with_context(at)?;
        let line = line.split('#').next().unwrap_or_default();
        if line.trim().is_empty() {
            continue;
        }
        let counts = counts(line).map_err(anyhow::Error::msg).with_context(at)?;
        let ln = process.add(&counts).map_err(anyhow::Error::msg).with_context(at)?;
        writeln!(out, "{ln}")?;
    }
    Ok(())
}

fn counts(line: &str) -> Result<Counts, String> {
    let mut numbers = [0.0; 4];
    let words: Vec<&str> = line.split_whitespace().collect();
    if words.len() != numbers.len() {
        return Err(format!("{} numbers instead of n_canary e_canary n_stable e_stable", words.len()));
    }
    for (number, word) in numbers.iter_mut().zip(&words) {
        *number = word.parse().map_err(|_| format!("'{word}' is not a number"))?;
    }
    let [n_canary, e_canary, n_stable, e_stable] = numbers;
    Ok(Counts { n_canary, e_canary, n_stable, e_stable })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(input: &str, test: Test) -> (String, Option<String>) {
        let (mut out, mut process) = (Vec::new(), ByBlock::new(test, 1.0, None).unwrap());
        let error = each_line(input.as_bytes(), &mut process, &mut out).err().map(|e| format!("{e:#}"));
        (String::from_utf8(out).unwrap(), error)
    }

    #[test]
    fn a_line_out_for_each_block_in_and_the_shortest_digits() {
        let (out, error) = said("0 0 0 0\n150 0 2850 0\n\n150 31 2850 6\n", Test::Ratio { rho0: 1.5 });
        assert_eq!(error, None);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(&lines[..2], ["0", "0"], "no failures say nothing of a ratio");
        assert!(lines[2].parse::<f64>().unwrap() > 60.0, "{out}");
        assert_eq!(lines[2].parse::<f64>().unwrap().to_string(), lines[2]);
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line() {
        for (line, problem) in [
            ("1 2 3", "3 numbers instead of"),
            ("1 x 3 4", "'x' is not a number"),
            ("1 0 NaN 0", "stable: counts must be 0 or more"),
            ("-1 0 5 0", "canary: counts must be 0 or more"),
            ("1 2 5 0", "canary: 2 failed of only 1"),
        ] {
            let (out, error) = said(&format!("5 0 5 0\n{line}\n"), Test::Threshold { p: 0.05 });
            assert_eq!(out.lines().count(), 1);
            let error = error.unwrap();
            assert!(error.starts_with("line 2: ") && error.contains(problem), "{error}");
        }
    }
}
