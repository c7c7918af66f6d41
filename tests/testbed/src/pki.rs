//! Keys and certificates of one control plane.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

use crate::folder::{make, write_private};

/// What goes into kubeconfigs and clients; the rest is in files for the API server.
#[derive(Debug)]
pub(crate) struct Pki {
    pub(crate) dir: PathBuf,
    pub(crate) ca_pem: String,
    pub(crate) ca_der: Vec<u8>,
    pub(crate) admin_cert_pem: String,
    pub(crate) admin_key_pem: String,
}

impl Pki {
    /// Makes a CA, a serving certificate for `ip`, a client certificate of `system:masters`, and the
    /// key for service account tokens, and writes them to `dir`.
    pub(crate) fn create(dir: &Path, cluster: &str, ip: Ipv4Addr) -> Result<Self> {
        make(dir)?;
        let ca = authority(cluster)?;
        let (serving_cert, serving_key) = signed(serving(ip)?, &ca)?;
        let (admin_cert_pem, admin_key_pem) = signed(admin(), &ca)?;
        let tokens = KeyPair::generate().context("cannot make a key")?;
        for (name, text) in [
            ("ca.crt", ca.pem()),
            ("apiserver.crt", serving_cert),
            ("apiserver.key", serving_key),
            ("sa.key", tokens.serialize_pem()),
            ("sa.pub", tokens.public_key_pem()),
        ] {
            write_private(&dir.join(name), &text)?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            ca_pem: ca.pem(),
            ca_der: ca.der().to_vec(),
            admin_cert_pem,
            admin_key_pem,
        })
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(cluster: &str) -> Result<Authority> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    name(&mut params, &format!("{cluster} testbed CA"), None);
    let key = KeyPair::generate().context("cannot make a key")?;
    CertifiedIssuer::self_signed(params, key).context("cannot sign the CA")
}

fn serving(ip: Ipv4Addr) -> Result<CertificateParams> {
    let names = [
        ip.to_string(),
        "localhost".to_owned(),
        "kubernetes.default.svc".to_owned(),
    ];
    let mut params = CertificateParams::new(names).context("cannot name the API server")?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    name(&mut params, "kube-apiserver", None);
    Ok(params)
}

fn admin() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    name(&mut params, "testbed-admin", Some("system:masters"));
    params
}

fn name(params: &mut CertificateParams, common: &str, organization: Option<&str>) {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
    if let Some(organization) = organization {
        params
            .distinguished_name
            .push(DnType::OrganizationName, organization);
    }
}

fn signed(mut params: CertificateParams, ca: &Authority) -> Result<(String, String)> {
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().context("cannot make a key")?;
    let cert = params
        .signed_by(&key, ca)
        .context("cannot sign a certificate")?;
    Ok((cert.pem(), key.serialize_pem()))
}
