//! One metric provider: its address, its secrets, and how it is asked.

use std::{fmt, time::Duration};

use prometheus_http_query::{Client, Error as QueryError};
use reqwest::{
    Certificate, Response,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};

use super::answer::{Fault, Series, Shape, read};
use crate::api::{
    provider::{MetricProviderSpec, allows},
    units::At,
};

/// The largest answer that is read.
pub const BODY_LIMIT: usize = 8 * 1024 * 1024;

/// A text that no log, status or error shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    fn reveal(&self) -> &str {
        self.0.trim_end_matches(['\r', '\n'])
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The values behind a MetricProvider's references to Secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets {
    pub login: Option<Login>,
    /// A PEM bundle.
    pub ca: Option<Secret>,
    /// Headers by name, those with plain values too.
    pub headers: Vec<(String, Secret)>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    Bearer(Secret),
    Basic { username: String, password: Secret },
}

/// A provider ready to be asked.
pub struct Provider {
    client: Client,
    allowed_namespaces: Vec<String>,
    pub scrape_interval: Duration,
    pub timeout: Duration,
    pub namespace_label: String,
    pub pod_label: String,
}

impl Provider {
    /// Errors: a sentence that names the field to correct.
    pub fn new(spec: &MetricProviderSpec, secrets: &Secrets) -> Result<Self, String> {
        let mut builder = reqwest::Client::builder()
            .redirect(Policy::none())
            .timeout(spec.timeout.0)
            .connect_timeout(spec.timeout.0)
            .default_headers(headers(secrets)?);
        if let Some(pem) = &secrets.ca {
            let roots = Certificate::from_pem_bundle(pem.reveal().as_bytes())
                .ok()
                .filter(|roots| !roots.is_empty())
                .ok_or("spec.ca: the Secret's key holds no PEM certificate")?;
            builder = builder.tls_certs_only(roots);
        } else if spec.url.starts_with("http://") {
            // No TLS, no roots: an image without a trust store must still reach it.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|_| "spec.ca: the certificates cannot be used".to_owned())?;
        let client =
            Client::from(http, spec.url.trim_end_matches('/')).map_err(|_| "spec.url is not a URL".to_owned())?;
        Ok(Self {
            client,
            allowed_namespaces: spec.allowed_namespaces.clone(),
            scrape_interval: spec.scrape_interval.0.max(Duration::from_millis(100)),
            timeout: spec.timeout.0,
            namespace_label: spec.namespace_label.clone(),
            pod_label: spec.pod_label.clone(),
        })
    }

    pub fn allows(&self, namespace: &str) -> bool {
        allows(&self.allowed_namespaces, namespace)
    }

    /// An instant vector at `at`; without it, at the provider's own present.
    pub async fn instant(&self, query: &str, at: Option<At>) -> Result<Vec<Series>, Fault> {
        let mut ask = self.client.query(query).timeout(self.timeout_millis());
        if let Some(at) = at {
            ask = ask.query("time", format_args!("{:.3}", at.epoch()).to_string());
        }
        self.body(ask.post_raw(), Shape::Instant).await
    }

    /// Instant vectors from `start` to `end`, one each `step`. Both ends are cut to whole seconds.
    pub async fn range(&self, query: &str, start: At, end: At, step: Duration) -> Result<Vec<Series>, Fault> {
        let seconds = |at: At| at.timestamp().as_second();
        let ask = self.client.query_range(query, seconds(start), seconds(end), step.as_secs_f64());
        self.body(ask.timeout(self.timeout_millis()).post_raw(), Shape::Range).await
    }

    /// The provider gives up a little earlier than we do: its word that a query is too heavy is worth more than silence.
    fn timeout_millis(&self) -> i64 {
        i64::try_from(self.timeout.as_millis() * 9 / 10).unwrap_or(i64::MAX).max(1)
    }

    async fn body(
        &self,
        request: impl Future<Output = Result<Response, QueryError>>,
        shape: Shape,
    ) -> Result<Vec<Series>, Fault> {
        let whole = async {
            let mut response = request.await.map_err(|e| match e {
                QueryError::Client(e) => self.trouble(std::error::Error::source(&e).and_then(|e| e.downcast_ref())),
                _ => Fault::Unreachable("the request could not be built"),
            })?;
            let code = response.status().as_u16();
            accept(code, response.headers().get(CONTENT_TYPE))?;
            let mut body = Vec::new();
            while let Some(chunk) = response
                .chunk()
                .await
                .map_err(|e| if e.is_timeout() { Fault::Timeout(self.timeout) } else { Fault::Malformed })?
            {
                if body.len() + chunk.len() > BODY_LIMIT {
                    return Err(Fault::TooLarge(BODY_LIMIT));
                }
                body.extend_from_slice(&chunk);
            }
            read(code, &body, shape)
        };
        // The client's own limit covers each phase; this one covers their sum.
        tokio::time::timeout(self.timeout, whole).await.unwrap_or(Err(Fault::Timeout(self.timeout)))
    }

    fn trouble(&self, error: Option<&reqwest::Error>) -> Fault {
        let Some(error) = error else { return Fault::Unreachable("the request failed") };
        if error.is_timeout() {
            return Fault::Timeout(self.timeout);
        }
        // The causes are told apart by their kinds; their texts hold addresses.
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(e) = cause {
            if e.downcast_ref::<rustls::Error>().is_some() {
                return Fault::Unreachable("its certificate is not trusted; see spec.ca");
            }
            if let Some(io) = e.downcast_ref::<std::io::Error>() {
                if io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).is_some() {
                    return Fault::Unreachable("its certificate is not trusted; see spec.ca");
                }
                if io.kind() == std::io::ErrorKind::ConnectionRefused {
                    return Fault::Unreachable("the connection is refused");
                }
            }
            cause = e.source();
        }
        Fault::Unreachable(if error.is_connect() { "no connection" } else { "the connection broke" })
    }
}

/// Looks at the head of an answer before its body is read.
fn accept(code: u16, content_type: Option<&HeaderValue>) -> Result<(), Fault> {
    match code {
        300..=399 => return Err(Fault::Redirect(code)),
        401 | 403 => return Err(Fault::Denied(code)),
        _ => {}
    }
    let kind = content_type.and_then(|v| v.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim() {
        "application/json" => Ok(()),
        _ if !(200..300).contains(&code) => Err(Fault::Http(code)),
        "text/html" | "application/xhtml+xml" => Err(Fault::Html),
        _ => Err(Fault::ContentType),
    }
}

fn headers(secrets: &Secrets) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    let sensitive = |text: String, what: &str| {
        let mut value =
            HeaderValue::from_str(&text).map_err(|_| format!("{what} holds characters no header can hold"))?;
        value.set_sensitive(true);
        Ok::<_, String>(value)
    };
    for (name, value) in &secrets.headers {
        let key: HeaderName =
            name.parse().map_err(|_| format!("spec.headers: '{name}' is not the name of a header"))?;
        map.insert(key, sensitive(value.reveal().to_owned(), &format!("spec.headers: the value of {name}"))?);
    }
    match &secrets.login {
        Some(Login::Bearer(token)) => {
            map.insert(AUTHORIZATION, sensitive(format!("Bearer {}", token.reveal()), "spec.auth.bearer")?);
        }
        Some(Login::Basic { username, password }) => {
            let pair = base64::Engine::encode(
                &base64::engine::general_purpose::STANDARD,
                format!("{username}:{}", password.reveal()),
            );
            map.insert(AUTHORIZATION, sensitive(format!("Basic {pair}"), "spec.auth.basic")?);
        }
        None => {}
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_shows() {
        let login = Login::Basic { username: "u".into(), password: Secret::new("hunter2") };
        let secrets =
            Secrets { login: Some(login), ca: None, headers: vec![("X-Tenant".into(), Secret::new("hunter2"))] };
        assert!(!format!("{secrets:?} {:?}", headers(&secrets).unwrap()).contains("hunter2"));
        let broken = Secrets { headers: vec![("X-Tenant".into(), Secret::new("hunter2\u{7}"))], ..Secrets::default() };
        let why = headers(&broken).unwrap_err();
        assert_eq!(why, "spec.headers: the value of X-Tenant holds characters no header can hold");
    }

    #[test]
    fn a_trailing_line_end_is_not_part_of_a_token() {
        let secrets = Secrets { login: Some(Login::Bearer(Secret::new("abc\n"))), ..Secrets::default() };
        assert_eq!(headers(&secrets).unwrap()[AUTHORIZATION], "Bearer abc");
    }
}
