use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;

struct Pki {
    ca: String,
    cert: String,
    key: String,
}

fn pki() -> Pki {
    let ca = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap();
    let client = rcgen::generate_simple_self_signed(["client".to_owned()]).unwrap();
    Pki {
        ca: STANDARD.encode(ca.cert.pem()),
        cert: STANDARD.encode(client.cert.pem()),
        key: STANDARD.encode(client.signing_key.serialize_pem()),
    }
}

fn kubeconfig(server: &str, cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         contexts: [{{name: c, context: {{cluster: m, user: u}}}}, {{name: other, context: {{cluster: x, user: y}}}}]\n\
         clusters: [{{name: m, cluster: {{server: \"{server}\"{cluster}}}}}]\n\
         users: [{{name: u, user: {{{user}}}}}, {{name: y, user: {{exec: {{command: /bin/evil, apiVersion: client.authentication.k8s.io/v1}}}}}}]\n"
    )
}

fn parse(text: &str) -> Result<Credentials, CredentialError> {
    parse_as(text, Insecure::default())
}

fn parse_as(text: &str, insecure: Insecure) -> Result<Credentials, CredentialError> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Credentials::parse(text.as_bytes(), insecure)
}

#[test]
fn inline_certificates_and_tokens_are_accepted() {
    let pki = pki();
    let ca = format!(", certificate-authority-data: {}", pki.ca);
    let cert = format!(
        "client-certificate-data: {}, client-key-data: {}",
        pki.cert, pki.key
    );
    let with_cert = parse(&kubeconfig("https://127.8.1.1:6443/base/", &ca, &cert)).unwrap();
    assert_eq!(
        (with_cert.host.as_str(), with_cert.port),
        ("127.8.1.1", 6443)
    );
    assert_eq!(with_cert.base_path, "/base");
    assert!(with_cert.authorization.is_none() && with_cert.expiry.is_some());

    let sni = format!("{ca}, tls-server-name: kubernetes");
    let with_token = parse(&kubeconfig("https://[2001:db8::1]", &sni, "token: abc")).unwrap();
    assert_eq!(
        (with_token.host.as_str(), with_token.port),
        ("2001:db8::1", 443)
    );
    assert_eq!(
        with_token.server_name,
        ServerName::try_from("kubernetes").unwrap()
    );
    assert!(with_token.authorization.unwrap().is_sensitive());
}

#[test]
fn what_would_run_or_read_something_is_refused_with_its_field() {
    let ca = format!(", certificate-authority-data: {}", pki().ca);
    let exec = "exec: {command: /bin/sh, apiVersion: client.authentication.k8s.io/v1}";
    let rows = [
        ("https://h", ca.as_str(), exec, "exec"),
        (
            "https://h",
            &ca,
            "auth-provider: {name: gcp}",
            "auth-provider",
        ),
        ("https://h", &ca, "tokenFile: /var/run/token", "tokenFile"),
        (
            "https://h",
            &ca,
            "client-certificate: /c",
            "client-certificate",
        ),
        ("https://h", &ca, "client-key: /k", "client-key"),
        ("https://h", &ca, "username: admin", "username"),
        ("https://h", &ca, "password: secret", "password"),
        ("https://h", &ca, "token: t, as: root", "as"),
        (
            "https://h",
            ", certificate-authority: /ca",
            "token: t",
            "certificate-authority",
        ),
        (
            "https://h",
            ", insecure-skip-tls-verify: true",
            "token: t",
            "insecure-skip-tls-verify",
        ),
        (
            "https://h",
            ", proxy-url: \"http://p\"",
            "token: t",
            "proxy-url",
        ),
        ("http://h", &ca, "token: t", "server"),
        ("https://u:p@h", &ca, "token: t", "server"),
    ];
    for (server, cluster, user, wanted) in rows {
        match parse(&kubeconfig(server, cluster, user)) {
            Err(CredentialError::Refused { field, .. }) => assert_eq!(field, wanted),
            other => panic!("{wanted} must be refused, got {other:?}"),
        }
    }
}

#[test]
fn a_member_goes_unverified_only_where_flag_annotation_and_kubeconfig_all_say_so() {
    let skip = kubeconfig("https://h", ", insecure-skip-tls-verify: true", "token: t");
    for (flag, annotation, missing) in [
        (false, false, "always verified"),
        (true, false, "annotate the hub object"),
        (false, true, "--allow-insecure-members"),
    ] {
        let refused = parse_as(&skip, Insecure { flag, annotation }).unwrap_err();
        let text = refused.to_string();
        assert!(
            text.starts_with("insecure-skip-tls-verify is refused"),
            "{text}"
        );
        assert!(text.contains(missing), "{text}");
    }
    let both = Insecure {
        flag: true,
        annotation: true,
    };
    assert!(parse_as(&skip, both).unwrap().insecure);

    let ca = format!(", certificate-authority-data: {}", pki().ca);
    let verified = kubeconfig("https://h", &ca, "token: t");
    assert!(!parse_as(&verified, both).unwrap().insecure);
    let neither = kubeconfig("https://h", "", "token: t");
    assert!(parse_as(&neither, both).is_err());
    let contradiction = format!("{ca}, insecure-skip-tls-verify: true");
    let contradiction = kubeconfig("https://h", &contradiction, "token: t");
    let refused = parse_as(&contradiction, both).unwrap_err().to_string();
    assert!(refused.contains("exclude each other"), "{refused}");
}

#[test]
fn what_lacks_something_is_invalid_and_says_what() {
    let ca = format!(", certificate-authority-data: {}", pki().ca);
    let der = format!(
        ", certificate-authority-data: {}",
        STANDARD.encode([0x30, 0x82])
    );
    let rows = [
        (
            kubeconfig("https://h", "", "token: t"),
            "certificate-authority-data",
        ),
        (
            kubeconfig("https://h", &der, "token: t"),
            "no PEM certificate",
        ),
        (kubeconfig("https://h", &ca, ""), "neither"),
        (kubeconfig("https://h", &ca, "token: ''"), "token is empty"),
        (
            kubeconfig("https://h", &ca, "client-certificate-data: aaaa"),
            "client-key-data",
        ),
        (kubeconfig("nonsense", &ca, "token: t"), "server"),
        (
            "apiVersion: v1\nkind: Config\n".to_owned(),
            "current-context",
        ),
        ("current-context: c\n".to_owned(), "context \"c\""),
        ("{{{".to_owned(), "YAML"),
    ];
    for (text, wanted) in rows {
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error:?} must contain {wanted:?}");
    }
    assert!(parse(&" ".repeat(65 * 1024)).is_err());
}

#[test]
fn no_error_and_no_debug_text_holds_the_secret_part() {
    let ca = format!(", certificate-authority-data: {}", pki().ca);
    let good = parse(&kubeconfig("https://h", &ca, "token: canary-token")).unwrap();
    assert!(!format!("{good:?}").contains("canary"));
    let broken = kubeconfig("https://h", &ca, "token: canary-token").replace("users:", "users: [");
    assert!(!parse(&broken).unwrap_err().to_string().contains("canary"));
}

#[test]
fn a_jwt_tells_its_expiry() {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let token = format!("h.{}.s", URL_SAFE_NO_PAD.encode(r#"{"exp":1893456000}"#));
    assert_eq!(
        jwt_expiry(&token),
        Some("2030-01-01T00:00:00Z".parse().unwrap())
    );
    assert_eq!(jwt_expiry("opaque"), None);
}
