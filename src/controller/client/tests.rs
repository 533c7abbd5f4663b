//! The client's fence and its deadlines.

use std::sync::atomic::AtomicU32;

use axum::{Router, body::Body as Answer, extract::State, routing::any};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};

use super::*;

/// An API server that says the same thing to everybody and counts how often.
async fn server<F>(answer: F) -> (http::Uri, Arc<AtomicU32>)
where
    F: Fn(u32) -> Response<Answer> + Clone + Send + Sync + 'static,
{
    let asked = Arc::new(AtomicU32::new(0));
    let reply = move |State(asked): State<Arc<AtomicU32>>| {
        let response = answer(asked.fetch_add(1, Ordering::SeqCst));
        async move { response }
    };
    let app = Router::new().fallback(any(reply)).with_state(asked.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (uri, asked)
}

fn config_map() -> Response<Answer> {
    Response::new(Answer::from(r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#))
}

fn busy() -> Response<Answer> {
    let body = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"TooManyRequests","code":429}"#;
    Response::builder().status(429).header(RETRY_AFTER, "0").body(Answer::from(body)).unwrap()
}

fn maps(uri: http::Uri, fence: &Fence, limit: Duration) -> (Api<ConfigMap>, Arc<Calls>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let calls = Arc::new(Calls::default());
    let client = guarded(plain(Config::new(uri), limit).unwrap(), fence.clone(), calls.clone(), limit);
    (Api::namespaced(client, "default"), calls)
}

#[tokio::test]
async fn no_write_is_sent_while_the_fence_is_closed_and_reads_are() {
    let (uri, asked) = server(|_| config_map()).await;
    let fence = Fence::closed();
    let (api, calls) = maps(uri, &fence, CALL_LIMIT);
    let errors = [
        api.create(&PostParams::default(), &ConfigMap::default()).await.unwrap_err(),
        api.patch("a", &PatchParams::default(), &Patch::Merge(serde_json::json!({}))).await.unwrap_err(),
        api.delete("a", &DeleteParams::default()).await.unwrap_err(),
        api.replace("a", &PostParams::default(), &ConfigMap::default()).await.unwrap_err(),
    ];
    assert!(errors.iter().all(not_leader), "{errors:?}");
    assert!(errors[0].to_string().contains("does not hold the lease"), "{}", errors[0]);
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    assert!(Verb::ALL.iter().all(|v| calls.count(*v) == 0));

    api.get("a").await.unwrap();
    fence.hold_until(clock::monotonic() + Duration::from_mins(1));
    api.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert_eq!((calls.count(Verb::Read), calls.count(Verb::Delete)), (1, 1));

    fence.hold_until(clock::monotonic());
    assert!(not_leader(&api.delete("a", &DeleteParams::default()).await.unwrap_err()));
}

#[tokio::test]
async fn a_busy_server_is_asked_again_for_reads_only_and_only_once() {
    let (uri, asked) = server(|n| if n == 0 { busy() } else { config_map() }).await;
    let (api, _) = maps(uri, &Fence::open(), CALL_LIMIT);
    api.get("a").await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);

    let (uri, asked) = server(|_| busy()).await;
    let (api, _) = maps(uri, &Fence::open(), CALL_LIMIT);
    assert!(api.get("a").await.is_err());
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert!(api.delete("a", &DeleteParams::default()).await.is_err());
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_call_ends_in_time_whether_the_head_or_the_body_of_the_answer_hangs() {
    let endless = |_| Response::new(Answer::from_stream(futures::stream::pending::<Result<String, std::io::Error>>()));
    let (uri, _) = server(endless).await;
    let (api, _) = maps(uri, &Fence::open(), Duration::from_millis(100));
    let error = api.get("a").await.unwrap_err().to_string();
    assert!(error.contains("had no answer after 100 ms"), "{error}");

    // Accepts the connection and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", silent.local_addr().unwrap()).parse().unwrap();
    let (api, _) = maps(uri, &Fence::open(), Duration::from_millis(100));
    let error = api.get("a").await.unwrap_err().to_string();
    assert!(error.contains("had no answer after 100 ms"), "{error}");
}

#[tokio::test]
async fn a_write_is_cut_off_when_the_fence_falls() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", silent.local_addr().unwrap()).parse().unwrap();
    let fence = Fence::closed();
    let (api, _) = maps(uri, &fence, CALL_LIMIT);
    fence.hold_until(clock::monotonic() + Duration::from_millis(500));
    let begun = clock::monotonic();
    let error = api.delete("a", &DeleteParams::default()).await.unwrap_err().to_string();
    assert!(error.contains("had no answer"), "{error}");
    assert!(begun.elapsed() < CALL_LIMIT);
}
