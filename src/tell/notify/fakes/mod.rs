//! Services on this machine, as strict as the real ones: they check signatures, clocks, sizes, rates and shapes, and answer
//! as those do.

pub mod robots;
pub mod services;
pub mod smtp;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::IntoResponse,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

/// A call as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub query: HashMap<String, String>,
    pub headers: HeaderMap,
    pub size: usize,
    pub body: Value,
}

pub struct Fake {
    pub url: String,
    pub seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    pub fn calls(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn bodies(&self) -> Vec<Value> {
        self.calls().into_iter().map(|seen| seen.body).collect()
    }

    pub fn at(&self, path: &str) -> reqwest::Url {
        format!("{}{path}", self.url).parse().unwrap()
    }
}

/// What a service answers: a status, headers, and a body.
pub type Said = (StatusCode, Vec<(&'static str, String)>, String);

#[expect(clippy::needless_pass_by_value, reason = "a body is written where it is said")]
pub fn said(status: u16, body: impl ToString) -> Said {
    (StatusCode::from_u16(status).unwrap(), vec![], body.to_string())
}

/// Starts a service.
pub async fn serve(mut answer: impl FnMut(&Seen) -> Said + Send + 'static) -> Fake {
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let book = Arc::clone(&seen);
    let answer = Arc::new(Mutex::new(move |call: &Seen| answer(call)));
    let take = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
        let url: reqwest::Url = format!("http://fake{uri}").parse().unwrap();
        let call = Seen {
            method,
            path: url.path().to_owned(),
            query: url.query_pairs().into_owned().collect(),
            headers,
            size: body.len(),
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        };
        let (status, headers, body) = (*answer.lock().unwrap())(&call);
        book.lock().unwrap().push(call);
        let mut response = (status, body).into_response();
        for (name, value) in headers {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        async move { response }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(take)).await.unwrap() });
    Fake { url, seen }
}

/// HMAC-SHA256 as RFC 2104 writes it, so that a signature is not checked by what made it.
pub fn hmac(key: &[u8], message: &[u8]) -> String {
    let mut block = [0; 64];
    if key.len() > 64 {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::digest([&block.map(|b| b ^ 0x36)[..], message].concat());
    STANDARD.encode(Sha256::digest([&block.map(|b| b ^ 0x5c)[..], &inner[..]].concat()))
}
