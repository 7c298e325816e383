use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::{Security, WebConfigError, read};

const HASH: &str = "$2y$05$2qQV7bFyoaSDcOzQqlnLcuK8nG4j3bsl0YJb1jpkQnG9HRCdOvUfW";

fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(directory.path().join("tls.crt"), pair.cert.pem()).unwrap();
    fs::write(directory.path().join("tls.key"), pair.signing_key.serialize_pem()).unwrap();
    directory
}

fn config(directory: &Path, text: &str) -> Result<Security, WebConfigError> {
    let path = directory.join("web.yml");
    fs::write(&path, text).unwrap();
    read(&path).outcome
}

fn problems(text: &str) -> Vec<String> {
    let directory = directory();
    let error = config(directory.path(), text).unwrap_err();
    error.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn an_empty_file_asks_for_nothing() {
    let directory = directory();
    let security = config(directory.path(), "\n").unwrap();
    assert!(security.tls.is_none() && security.users.is_empty());
}

#[test]
fn a_full_file_is_understood_with_paths_relative_to_it() {
    let directory = directory();
    let security = config(
        directory.path(),
        &format!(
            "tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\n  \
             client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ./tls.crt\n  \
             min_version: TLS12\n  max_version: TLS13\n  prefer_server_cipher_suites: true\n  \
             cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]\n  \
             curve_preferences: [CurveP256, X25519]\n\
             http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n\
             basic_auth_users:\n  alice: {HASH}\n"
        ),
    )
    .unwrap();
    let tls = security.tls.unwrap();
    assert_eq!(tls.alpn_protocols, [b"http/1.1".to_vec()]);
    assert!(tls.ignore_client_order);
    assert_eq!(tls.crypto_provider().kx_groups.len(), 2);
    let suites = &tls.crypto_provider().cipher_suites;
    assert_eq!(suites.iter().filter(|suite| suite.tls13().is_none()).count(), 1);
    assert!(!security.users.is_empty());
    assert_eq!(security.headers["x-frame-options"], "deny");
}

#[test]
fn every_problem_is_listed_at_once() {
    let problems = problems(
        "tls_server_config:\n  cert_file: nowhere.crt\n  client_auth_type: Maybe\n  \
         min_version: TLS10\n  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]\n  \
         curve_preferences: [CurveP521]\n  client_allowed_sans: [a]\n\
         http_server_config:\n  headers:\n    Server: x\n  http3: true\n\
         basic_auth_users:\n  alice: plain\n  bob: $2y$31$2qQV7bFyoaSDcOzQqlnLcuK8nG4j3bsl0YJb1jpkQnG9HRCdOvUfW\n  'a:b': plain\n\
         rate_limit: {}\n",
    );
    let all = problems.join("\n");
    for wanted in [
        "nowhere.crt cannot be read",
        "key_file is missing",
        "client_auth_type \"Maybe\" is unknown",
        "min_version \"TLS10\" is not offered",
        "TLS_RSA_WITH_RC4_128_SHA",
        "CurveP521",
        "tls_server_config.client_allowed_sans is not a key",
        "headers.Server may not be set",
        "http_server_config.http3 is not a key",
        "basic_auth_users.alice is no bcrypt hash",
        "basic_auth_users.bob has cost 31",
        "\"a:b\" is no user name",
        "rate_limit is not a key",
    ] {
        assert!(all.contains(wanted), "{wanted:?} is missing in:\n{all}");
    }
}

#[test]
fn the_error_names_the_file() {
    let error = read(Path::new("/nonexistent/web.yml")).outcome.unwrap_err().to_string();
    assert!(error.contains("/nonexistent/web.yml cannot be used"), "{error}");
    assert!(error.contains("No such file"), "{error}");
}

#[test]
fn wrong_types_are_told_with_their_place() {
    let told = problems("basic_auth_users: [a, b]\n").join("\n");
    assert!(told.contains("line 1") || told.contains("1:"), "{told}");
}

#[test]
fn no_problem_shows_a_hash_of_a_password() {
    for text in [
        format!("basic_auth_users:\n  alice: {HASH}\n  alice: {HASH}\n"),
        format!("basic_auth_users:\n  alice: {HASH}\n bob: {HASH}\n"),
        format!("basic_auth_users: {HASH}\n"),
        format!("basic_auth_users:\n  alice: {HASH}\nx: [\n"),
    ] {
        let told = problems(&text).join("\n");
        assert!(!told.contains("$2y") && told.contains("line "), "{text} gave: {told}");
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let directory = directory();
    let other = rcgen::KeyPair::generate().unwrap();
    fs::write(directory.path().join("tls.key"), other.serialize_pem()).unwrap();
    let text = "tls_server_config: {cert_file: tls.crt, key_file: tls.key}\n";
    let error = config(directory.path(), text).unwrap_err().to_string();
    assert!(error.contains("check that they match"), "{error}");
}

#[test]
fn a_client_authority_without_a_policy_is_refused() {
    let text =
        "tls_server_config: {cert_file: tls.crt, key_file: tls.key, client_ca_file: tls.crt}\n";
    assert!(problems(text).join("\n").contains("does not check certificates"));
    let text = "tls_server_config: {cert_file: tls.crt, key_file: tls.key, \
                min_version: TLS13, max_version: TLS12}\n";
    assert!(problems(text).join("\n").contains("exchange them"));
}

#[test]
fn the_fingerprint_follows_every_file() {
    let directory = directory();
    let path = directory.path().join("web.yml");
    fs::write(&path, "tls_server_config: {cert_file: tls.crt, key_file: tls.key}\n").unwrap();
    let before = read(&path);
    assert!(before.outcome.is_ok());
    assert_eq!(read(&path).fingerprint, before.fingerprint);
    fs::remove_file(directory.path().join("tls.key")).unwrap();
    let after = read(&path);
    assert!(after.outcome.is_err());
    assert_ne!(after.fingerprint, before.fingerprint);
}

#[test]
fn an_endless_file_is_refused() {
    let directory = directory();
    let path = directory.path().join("web.yml");
    fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    let error = read(&path).outcome.unwrap_err().to_string();
    assert!(error.contains("larger than 1024 KiB"), "{error}");
    let error = read(Path::new("/dev/zero")).outcome.unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
}
