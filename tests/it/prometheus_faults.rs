//! A metric provider that misbehaves: each way has a sentence of its own, and none of them is ever data.

use std::{sync::Arc, time::Duration};

use haldane::{
    api::{
        checks::{Preset, Source},
        provider::{Auth, MetricProviderSpec, SecretKey},
    },
    controller::sampler::Interest,
    observe::{
        clock,
        prometheus::client::{Login, Provider, Secret, Secrets},
        seen::Feed,
    },
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    harness::{SOON, eventually},
    prometheus::{data, interest, provider, sampler},
};

/// What the server does with a request, told by the request's text.
type Behaviour = Arc<dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync>;

/// A server on a free port. `None` from its behaviour: it never answers. Ends with the test's runtime.
async fn server(behaviour: Behaviour) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, behaviour.clone()));
        }
    });
    url
}

async fn serve(mut stream: TcpStream, behaviour: Behaviour) {
    let mut request = Vec::new();
    let mut chunk = vec![0; 65536];
    while !whole(&request) {
        match stream.read(&mut chunk).await {
            Ok(read) if read > 0 => request.extend_from_slice(&chunk[..read]),
            _ => return,
        }
    }
    match behaviour(&String::from_utf8_lossy(&request)) {
        Some(answer) => {
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
        }
        None => std::future::pending().await,
    }
}

fn whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn answer(status: &str, content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

fn json_answer(body: &str) -> Vec<u8> {
    answer("200 OK", "application/json", body)
}

fn vector(result: &str) -> String {
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":{result}}}}}"#)
}

/// A pod's counters as an answer to a preset's or a custom query, with the given count of requests.
fn counters(pod: &str, requests: &str) -> String {
    let now = clock::now().epoch();
    let part = |part: &str, value: &str| {
        format!(
            r#"{{"metric":{{"namespace":"shop","pod":"{pod}","code":"200","haldane_part":"{part}"}},"value":[{now},"{value}"]}}"#
        )
    };
    format!("{},{}", part("requests", requests), part("at", &format!("{}", now - 1.0)))
}

/// What the sampler says about a provider that always answers like this.
async fn said_of(behaviour: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) -> String {
    let url = server(Arc::new(behaviour)).await;
    said_at(&url).await
}

async fn said_at(url: &str) -> String {
    let (sampler, _) = sampler(provider(url, &json!({"timeout": "2s", "scrapeInterval": "1s"})));
    let interest = interest("shop", "web", &["p"]);
    sampler.watch(interest.clone());
    eventually("a reason", SOON, async || match sampler.feed(&interest.key) {
        Feed::NoData { why } if !why.ends_with("has not been asked yet") => Ok(why),
        other => Err(other),
    })
    .await
}

/// As `said_of`, always with the same bytes; a vector is no answer to a range query, so that gets an empty matrix.
async fn said_of_answer(bytes: Vec<u8>) -> String {
    let vector = String::from_utf8_lossy(&bytes).contains(r#""resultType":"vector""#);
    said_of(
        move |request| if vector && request.contains("query_range") { Some(no_history()) } else { Some(bytes.clone()) },
    )
    .await
}

fn no_history() -> Vec<u8> {
    json_answer(r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#)
}

#[tokio::test]
async fn every_fault_has_its_own_sentence_and_none_is_data() {
    let fault = |status: &str, body: &str| answer(status, "application/json", body);
    let refused = r#"{"status":"error","errorType":"execution","error":"the tenant's key is hunter2"}"#;
    let timed_out = r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#;
    let unavailable = r#"{"status":"error","errorType":"unavailable","error":"starting up"}"#;
    let cut = json_answer(&vector("[]"));
    let partial = vector("[]").replacen('{', r#"{"warnings":["store a is down","store b is down"],"#, 1);
    let histogram = vector(r#"[{"metric":{"pod":"p"},"histogram":[1,{"count":"3","sum":"1","buckets":[]}]}]"#);
    let string = r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#;
    let value = |value: &str| json_answer(&vector(&format!("[{}]", counters("p", value))));
    let mut big = vec![b' '; 10 * 1024 * 1024];
    big.splice(0..0, b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n".iter().copied());

    for (bytes, sentence) in [
        (fault("500 Internal Server Error", "oops"), "the metric provider answered HTTP 500"),
        (answer("503 Service Unavailable", "text/plain", "oops"), "the metric provider answered HTTP 503"),
        (fault("503 Service Unavailable", unavailable), "the metric provider answered HTTP 503"),
        (
            fault("503 Service Unavailable", timed_out),
            "the metric provider refused the query (HTTP 503): it took too long",
        ),
        (
            fault("422 Unprocessable Entity", refused),
            "the metric provider refused the query (HTTP 422): it failed while it ran",
        ),
        (answer("401 Unauthorized", "text/html", "x"), "the metric provider refuses the credentials (HTTP 401)"),
        (
            answer("200 OK", "text/html; charset=utf-8", "<html>sign in</html>"),
            "the metric provider answered with a web page, not with JSON",
        ),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/login\r\nContent-Length: 0\r\n\r\n".to_vec(),
            "the metric provider redirects (HTTP 302); is a login page in front of it?",
        ),
        (answer("200 OK", "text/plain", &vector("[]")), "the metric provider's answer is not declared as JSON"),
        (cut[..cut.len() - 5].to_vec(), "the metric provider's answer is cut off or not valid JSON"),
        (json_answer(r#"{"status":"success","#), "the metric provider's answer is cut off or not valid JSON"),
        (big, "the metric provider's answer is larger than 8 MiB"),
        (json_answer(&partial), "partial answer: the metric provider sent 2 warning(s) with it"),
        (json_answer(string), "the answer is a string, not an instant vector"),
        (json_answer(&histogram), "the answer holds native histograms; classic counters and buckets are needed"),
        (value("NaN"), "the counter of requests of pod p is NaN"),
        (value("+Inf"), "the counter of requests of pod p is infinite"),
        (value("-1"), "the counter of requests of pod p is negative"),
        (json_answer(&vector("[]")), "http_requests_total has no series for any of the 1 pods; 0 of them are scraped"),
    ] {
        assert_eq!(said_of_answer(bytes).await, sentence);
    }
}

#[tokio::test]
async fn a_provider_that_is_away_or_silent_is_told_apart() {
    assert_eq!(said_of(|_| None).await, "the metric provider did not answer within 2 s");
    let half = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{".to_vec();
    assert_eq!(said_of_answer(half).await, "the metric provider's answer is cut off or not valid JSON");
    let closed = TcpListener::bind("127.0.0.1:0").await.and_then(|l| l.local_addr()).expect("a free port");
    let why = said_at(&format!("http://{closed}")).await;
    assert_eq!(why, "the metric provider cannot be reached: the connection is refused");
    assert_eq!(said_of_answer(Vec::new()).await, "the metric provider cannot be reached: the connection broke");
}

#[tokio::test]
async fn requests_whose_errors_nobody_counts_are_no_data() {
    let bytes = json_answer(&vector(&format!("[{}]", counters("p", "5").replace(r#""code":"200","#, ""))));
    assert_eq!(
        said_of_answer(bytes).await,
        "errors cannot be counted: http_requests_total has no label code or status and http_requests_errors_total \
         does not exist"
    );
}

#[tokio::test]
async fn a_clock_far_from_ours_is_told() {
    let late = clock::now().epoch() - 95.0;
    let body = vector(&format!(
        r#"[{{"metric":{{"namespace":"shop","pod":"p","code":"200","haldane_part":"requests"}},"value":[{late},"5"]}}]"#
    ));
    let why = said_of_answer(json_answer(&body)).await;
    assert!(why.starts_with("the metric provider's clock is 1 m 3"), "{why}");
    assert!(why.ends_with("s behind the operator's"), "{why}");
}

#[tokio::test]
async fn secrets_go_to_the_provider_and_nowhere_else() {
    let (send, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let url = server(Arc::new(move |request: &str| {
        let _ = send.send(request.to_owned());
        Some(answer("401 Unauthorized", "text/plain", "token hunter2 is wrong"))
    }))
    .await;
    let key = SecretKey { name: "s".into(), key: "k".into() };
    let spec = MetricProviderSpec {
        auth: Some(Auth { bearer: Some(key), basic: None }),
        ..serde_json::from_value(json!({"url": format!("{url}/prom/"), "allowedNamespaces": ["*"]})).expect("a spec")
    };
    let secrets = Secrets {
        login: Some(Login::Bearer(Secret::new("hunter2"))),
        headers: vec![("X-Scope-OrgID".into(), Secret::new("team-7"))],
        ca: None,
    };
    let provider = Provider::new(&spec, &secrets).expect("a provider");
    let fault = provider.instant("up", None).await.unwrap_err();
    assert_eq!(fault.to_string(), "the metric provider refuses the credentials (HTTP 401)");
    let request = requests.recv().await.expect("a request");
    let lines: Vec<&str> = request.lines().collect();
    assert_eq!(lines[0], "POST /prom/api/v1/query HTTP/1.1");
    for header in ["authorization: Bearer hunter2", "x-scope-orgid: team-7"] {
        assert!(lines.contains(&header), "{header}: {request}");
    }
    assert!(request.ends_with("query=up&timeout=4500ms"), "{request}");
    let not_pem = Secrets { ca: Some(Secret::new("hunter2")), ..Secrets::default() };
    assert_eq!(
        Provider::new(&spec, &not_pem).err().as_deref(),
        Some("spec.ca: the Secret's key holds no PEM certificate")
    );
}

#[tokio::test]
async fn a_bad_custom_query_disturbs_no_other_release() {
    let url = server(Arc::new(|request: &str| {
        if request.contains("never_answers") {
            return None;
        }
        if request.contains("query_range") {
            return Some(no_history());
        }
        let requests = format!("{}", clock::now().epoch().floor());
        Some(json_answer(&vector(&format!("[{}]", counters("p", &requests)))))
    }))
    .await;
    let (sampler, _) = sampler(provider(&url, &json!({"timeout": "1s", "scrapeInterval": "1s"})));
    let custom = |name: &str, total: &str| Interest {
        source: Source {
            preset: Preset::Custom,
            total: Some(total.into()),
            errors: Some("failed_total".into()),
            latency: None,
        },
        ..interest("shop", name, &["p"])
    };
    let good = interest("shop", "preset", &["p"]);
    let fine = custom("fine", "all_total");
    let broken = custom("broken", "sum(all_total");
    let hangs = [custom("hangs", "never_answers"), custom("hangs-too", "never_answers")];
    for one in [&good, &fine, &broken, &hangs[0], &hangs[1]] {
        sampler.watch(one.clone());
    }
    data(&sampler, &good).await;
    data(&sampler, &fine).await;
    for one in &hangs {
        let why = eventually("the hanging one is told", SOON, async || match sampler.feed(&one.key) {
            Feed::NoData { why } if why.contains("within") => Ok(why),
            other => Err(other),
        })
        .await;
        assert_eq!(why, "the metric provider did not answer within 1 s");
    }
    let Feed::NoData { why } = sampler.feed(&broken.key) else { panic!("a query that cannot be parsed") };
    assert!(why.starts_with("spec.checks.source.total is not PromQL: "), "{why}");
    // The preset is read as often as ever beside two queries that use up their whole time.
    let before = data(&sampler, &good).await.pods[0].points.len();
    let (start, wanted) = (clock::monotonic(), before + 3);
    eventually("three more scrapes", SOON, async || {
        let points = data(&sampler, &good).await.pods[0].points.len();
        (points >= wanted).then_some(()).ok_or(points)
    })
    .await;
    assert!(clock::monotonic().duration_since(start) < Duration::from_secs(20));
}

#[tokio::test]
async fn a_namespace_that_is_not_allowed_and_a_missing_provider_are_told() {
    let url = server(Arc::new(|_: &str| Some(json_answer(&vector("[]"))))).await;
    let (sampler, _) = sampler(provider(&url, &json!({"allowedNamespaces": ["shop"]})));
    let foreign = interest("bank", "web", &["p"]);
    let missing = Interest { provider: Some("nobody".into()), ..interest("shop", "web", &["p"]) };
    let unset = Interest { provider: None, ..interest("shop", "unset", &["p"]) };
    for one in [&foreign, &missing, &unset] {
        sampler.watch(one.clone());
    }
    for (one, sentence) in [
        (&foreign, "the metric provider does not allow the namespace bank; see its spec.allowedNamespaces"),
        (&missing, "the MetricProvider nobody does not exist"),
    ] {
        eventually(sentence, SOON, async || match sampler.feed(&one.key) {
            Feed::NoData { why } if why == sentence => Ok(()),
            other => Err(other),
        })
        .await;
    }
    assert_eq!(sampler.feed(&unset.key), Feed::Unset);
}
