//! Which kubeconfig is used, and what is said when there is none.

use std::sync::Arc;

use super::{
    super::status::{Condition, State, reason},
    Supervisor,
};
use crate::credentials::{CredentialError, Credentials, Insecure, source::SourceError};

/// What is wrong with a member that goes unverified.
pub(super) const UNVERIFIED: &str = "its kubeconfig says insecure-skip-tls-verify, so whoever \
    answers at its address gets the credentials: add certificate-authority-data";

impl Supervisor {
    /// Reads the Secret and judges what it holds.
    pub(super) async fn load(&mut self) {
        let spec = self.spec.borrow_and_update().clone();
        let insecure = Insecure {
            flag: self.link.context.allow_insecure,
            annotation: spec.insecure,
        };
        self.give_up_unverified(insecure);
        let read = match &spec.secret {
            None => Err(SourceError::NotSet),
            Some((name, key)) => {
                let namespace = &self.link.key.namespace;
                self.link.context.source.read(namespace, name, key).await
            }
        };
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) => return self.no_secret(&error),
        };
        self.secret_problem = None;
        match Credentials::parse(&bytes, insecure) {
            Ok(new)
                if self
                    .credentials
                    .as_ref()
                    .is_some_and(|c| c.digest == new.digest) => {}
            Ok(new) => {
                tracing::info!(cluster = %self.link.key, "using the kubeconfig of the Secret");
                if new.insecure {
                    tracing::warn!(
                        cluster = %self.link.key, host = %new.host,
                        "this member is not verified: {UNVERIFIED}"
                    );
                }
                self.credentials = Some(Arc::new(new));
                self.unusable = None;
                self.attempt = 0;
                self.suspect = false;
            }
            Err(error) => {
                let reason = match &error {
                    CredentialError::Invalid(_) => reason::KUBECONFIG_INVALID,
                    CredentialError::Refused { .. } => reason::KUBECONFIG_REFUSED,
                };
                let message = format!("the kubeconfig cannot be used: {error}");
                self.credentials = None;
                self.unusable = Some(Condition::new(State::Misconfigured, reason, message));
            }
        }
        self.refresh_overlay();
    }

    /// Whoever takes the permission back is heard, whether or not the Secret can be read.
    fn give_up_unverified(&mut self, insecure: Insecure) {
        let allowed = insecure.flag && insecure.annotation;
        if allowed || self.credentials.as_ref().is_none_or(|c| !c.insecure) {
            return;
        }
        self.credentials = None;
        let why = "the kubeconfig cannot be used: insecure-skip-tls-verify is not allowed any more";
        let refused = Condition::new(State::Misconfigured, reason::KUBECONFIG_REFUSED, why);
        self.unusable = Some(refused);
    }

    fn no_secret(&mut self, error: &SourceError) {
        let message = error.to_string();
        let reason = match error {
            SourceError::NotSet => reason::KUBECONFIG_INVALID,
            SourceError::SecretNotFound(_) => reason::SECRET_NOT_FOUND,
            SourceError::KeyNotFound { .. } => reason::SECRET_KEY_NOT_FOUND,
            SourceError::Hub(_) => {
                // What was known before the hub went away stays true.
                if self.credentials.is_none() && self.unusable.is_none() {
                    let waiting = Condition::new(State::Connecting, reason::CONNECTING, message);
                    self.unusable = Some(waiting);
                }
                self.refresh_overlay();
                return;
            }
        };
        if self.credentials.is_some() {
            let message = format!("{message}; its last content stays in use");
            self.secret_problem = Some((reason, message));
            self.refresh_overlay();
        } else {
            self.unusable = Some(Condition::new(State::Misconfigured, reason, message));
        }
    }
}
