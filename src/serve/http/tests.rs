//! What is answered, and when.

use super::*;

async fn ask(address: SocketAddr, path: &str) -> (u16, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let response = reqwest::get(format!("http://{address}{path}")).await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn alive_at_once_ready_when_the_watches_are_filled() {
    let (filled, synced) = watch::channel(false);
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let metrics = Metrics::default();
    metrics.leader(true);
    let server = tokio::spawn(serve(listener, Health { metrics, synced }, stop.clone()));

    assert_eq!(ask(address, "/healthz").await.0, 200);
    assert_eq!(ask(address, "/readyz").await.0, 503);
    filled.send_replace(true);
    assert_eq!(ask(address, "/readyz").await.0, 200);
    let (code, text) = ask(address, "/metrics").await;
    assert_eq!(code, 200);
    assert!(text.contains("haldane_leader 1\n") && text.ends_with("# EOF\n"), "{text}");
    assert_eq!(ask(address, "/").await.0, 404);

    stop.cancel();
    server.await.unwrap().unwrap();
}
