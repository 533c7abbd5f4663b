//! Random numbers that are the same on every machine: xoshiro256++, and the distributions that the worlds need.

#[derive(Clone, Debug)]
pub struct Random([u64; 4]);

impl Random {
    /// A stream of its own for each name and seed.
    pub fn new(name: &str, seed: u64) -> Self {
        let named = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut state = named ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }

    fn bits(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Above 0 and below 1.
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    pub fn between(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.unit()
    }

    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Mean 1, variance 1/`shape`; for `shape` >= 1 (Marsaglia and Tsang).
    pub fn gamma(&mut self, shape: f64) -> f64 {
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.unit().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v / shape;
            }
        }
    }

    /// A count with this mean. Exact: by inversion when small, else by Hörmann's transformed rejection (PTRS).
    pub fn poisson(&mut self, mean: f64) -> f64 {
        if mean <= 0.0 {
            0.0
        } else if mean < 12.0 {
            self.few(mean)
        } else {
            self.many(mean)
        }
    }

    fn few(&mut self, mean: f64) -> f64 {
        let (mut left, mut count) = (self.unit(), 0.0);
        let mut chance = (-mean).exp();
        while left > chance && count < 200.0 {
            left -= chance;
            count += 1.0;
            chance *= mean / count;
        }
        count
    }

    fn many(&mut self, mean: f64) -> f64 {
        let b = 0.931 + 2.53 * mean.sqrt();
        let a = -0.059 + 0.02483 * b;
        let scale = 1.1239 + 1.1328 / (b - 3.4);
        let quick = 0.9277 - 3.6224 / (b - 2.0);
        loop {
            let (centred, height) = (self.unit() - 0.5, self.unit());
            let edge = 0.5 - centred.abs();
            let drawn = ((2.0 * a / edge + b) * centred + mean + 0.43).floor();
            if edge >= 0.07 && height <= quick {
                return drawn;
            }
            if drawn < 0.0 || (edge < 0.013 && height > edge) {
                continue;
            }
            if (height * scale / (a / (edge * edge) + b)).ln() <= drawn * mean.ln() - mean - ln_factorial(drawn) {
                return drawn;
            }
        }
    }
}

fn ln_factorial(k: f64) -> f64 {
    if k < 10.0 {
        let mut product = 1.0;
        let mut factor = 2.0;
        while factor <= k {
            product *= factor;
            factor += 1.0;
        }
        return f64::ln(product);
    }
    let x = k + 1.0;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + 1.0 / (12.0 * x) - 1.0 / (360.0 * x * x * x)
}

/// The share of a normal distribution below `z`; off by less than 1.2e-7 of itself (Chebyshev form of erfc).
pub fn normal_below(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * x);
    let terms = [
        0.170_872_77,
        -0.822_152_23,
        1.488_515_87,
        -1.135_203_98,
        0.278_868_07,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_68,
        -1.265_512_23,
    ];
    let tail = 0.5 * t * (terms.iter().fold(0.0, |sum, term| sum * t + term) - x * x).exp();
    if z > 0.0 { 1.0 - tail } else { tail }
}
