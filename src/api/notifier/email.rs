//! Mail by SMTP.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::provider::{Basic, SecretKey};

/// Mail by an SMTP server. All notices of a Release are one thread.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.auth) || self.tls != 'None'").message("spec.email.auth would send the password in clear text; set spec.email.tls to StartTls or Tls"))]
pub struct Email {
    /// The server's name, as its certificate has it.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9.:-]+$"))]
    pub host: String,
    /// Its port. None: 587 for StartTls, 465 for Tls, 25 for None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: MailTls,
    /// A PEM bundle to trust instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<SecretKey>,
    /// A name and a password. None: without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Basic>,
    /// The sender, `name@domain` or `Name <name@domain>`.
    #[schemars(length(min = 3, max = 320))]
    #[x_kube(validation = Rule::new("self.contains('@')").message("spec.email.from must be an address such as haldane@example.org"))]
    pub from: String,
    /// The receivers.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub to: Vec<String>,
}

/// How the connection is protected. A server that does not offer it gets nothing.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MailTls {
    #[default]
    StartTls,
    Tls,
    None,
}
