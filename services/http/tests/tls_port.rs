//! A TLS port as clients meet it.
#![allow(clippy::unwrap_used, reason = "a failed test should panic")]
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use virga_http::server::{Config, serve};
use virga_http::tls::{self, Certificates};
use virga_node::task::Tasks;

/// A made-up authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            root,
        }
    }

    /// Certificate and key for `localhost`.
    fn pair(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    }

    fn client(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Every connection shakes hands in full.
        config.resumption = rustls::client::Resumption::disabled();
        TlsConnector::from(Arc::new(config))
    }
}

const ALL: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

struct Port {
    address: SocketAddr,
    authority: Authority,
    certificates: Arc<Certificates>,
    tasks: Tasks,
    folder: tempfile::TempDir,
}

impl Port {
    async fn open(config: Config) -> Self {
        let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
        let (cert, key) = authority.pair();
        write(folder.path(), &cert, &key);
        let (cert, key) = files(folder.path());
        let certificates = Arc::new(Certificates::load(&cert, &key).unwrap());
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/large", get(async || "x".repeat(1 << 20)))
            .route("/count", post(async |body: String| body.len().to_string()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = Tasks::new();
        let (shown, serving) = (certificates.clone(), tasks.clone());
        tasks.spawn(async move { serve(listener, Some(shown), router, &config, serving).await });
        Self {
            address,
            authority,
            certificates,
            tasks,
            folder,
        }
    }

    async fn connect(&self, client: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        client.connect(name, stream).await
    }
}

fn files(folder: &Path) -> (PathBuf, PathBuf) {
    (folder.join("server.pem"), folder.join("server.key"))
}

fn write(folder: &Path, cert: &str, key: &str) {
    let (cert_file, key_file) = files(folder);
    std::fs::write(cert_file, cert).unwrap();
    std::fs::write(key_file, key).unwrap();
}

async fn ask(stream: &mut TlsStream<TcpStream>, path: &str) -> std::io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken_with_http_1_1_inside() {
    let port = Port::open(Config::default()).await;
    for version in ALL {
        let client = port.authority.client(&[version]);
        let mut stream = port.connect(&client).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let answer = ask(&mut stream, "/").await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"),
            "{answer}"
        );
        let mut stream = port.connect(&client).await.unwrap();
        let answer = ask(&mut stream, "/large").await.unwrap();
        assert!(answer.ends_with(&"x".repeat(1 << 20)), "{} bytes", answer.len());
    }
}

#[tokio::test]
async fn a_client_that_knows_another_authority_is_not_served() {
    let port = Port::open(Config::default()).await;
    let stranger = Authority::new().client(ALL);
    let error = port.connect(&stranger).await.unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
    let client = port.authority.client(ALL);
    port.connect(&client).await.unwrap();
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_told_what_to_do() {
    let port = Port::open(Config::default()).await;
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    stream
        .write_all(b"GET /v3 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())),
        "{answer}"
    );
    assert!(body.contains("https://"), "{answer}");
}

#[tokio::test]
async fn a_client_that_never_shakes_hands_holds_no_place_for_long() {
    let config = Config {
        max_connections: 1,
        header_timeout: 1,
        ..Config::default()
    };
    let port = Port::open(config).await;
    let mut silent = TcpStream::connect(port.address).await.unwrap();
    silent.write_all(&[22]).await.unwrap();
    // The one place is free again once the silent client was cut off.
    let client = port.authority.client(ALL);
    let served = async { ask(&mut port.connect(&client).await.unwrap(), "/").await.unwrap() };
    let answer = tokio::time::timeout(Duration::from_secs(60), served)
        .await
        .unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_change_under_load_and_no_connection_is_dropped() {
    let port = Arc::new(Port::open(Config::default()).await);
    let (done, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients = Tasks::new();
    let loads: Vec<_> = (0..4)
        .map(|_| {
            let (port, done, served) = (port.clone(), done.clone(), served.clone());
            clients.spawn(async move {
                let client = port.authority.client(ALL);
                while !done.load(Ordering::Acquire) {
                    let mut stream = port.connect(&client).await.unwrap();
                    let answer = ask(&mut stream, "/large").await.unwrap();
                    assert!(answer.ends_with('x') && answer.len() > 1 << 20);
                    served.fetch_add(1, Ordering::AcqRel);
                }
            })
        })
        .collect();
    // One that began with the first certificate and goes on through all.
    let client = port.authority.client(ALL);
    let mut old = port.connect(&client).await.unwrap();
    let began = old.get_ref().1.peer_certificates().unwrap()[0].clone();
    for _ in 0..5 {
        let before = served.load(Ordering::Acquire);
        let (cert, key) = port.authority.pair();
        write(port.folder.path(), &cert, &key);
        assert_eq!(port.certificates.reload_if_changed(), Ok(true));
        let more = async {
            while served.load(Ordering::Acquire) < before + 4 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), more)
            .await
            .expect("clients are served");
    }
    done.store(true, Ordering::Release);
    for load in loads {
        load.await.unwrap();
    }
    assert!(ask(&mut old, "/").await.unwrap().ends_with("hello"));
    let new = port.connect(&client).await.unwrap();
    assert_ne!(new.get_ref().1.peer_certificates().unwrap()[0], began);
    assert!(port.tasks.drain(Duration::from_secs(60)).await, "connections end");
}
