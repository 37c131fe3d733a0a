//! A connector behind TLS, with a private certificate authority.

use std::fs;
use std::sync::Arc;

use actix_web::rt::net::{TcpListener, TcpStream};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::TlsAcceptor;

use crate::world::World;
use crate::{credentials, text};

/// Which certificate the connector shows.
#[derive(Clone, Copy, PartialEq)]
enum ShownCertificate {
    Good,
    Expired,
    OfAnother,
}

/// Starts a TLS proxy in front of the connector; returns its address, and the authority in PEM.
async fn tls(world: &World, shown: ShownCertificate) -> (String, String) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let name = if shown == ShownCertificate::OfAnother { "another.example" } else { "127.0.0.1" };
    let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if shown == ShownCertificate::Expired {
        leaf.not_after = date_time_ymd(2020, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let chain = vec![leaf.signed_by(&key, &issuer).unwrap().der().clone()];
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let behind = world.connector.authority().to_owned();
    caduceus_supervision::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            caduceus_supervision::spawn(async move {
                // A client that rejects the certificate disconnects.
                let Ok(mut outer) = acceptor.accept(stream).await else { return };
                let mut inner = TcpStream::connect(behind).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
            });
        }
    });
    (format!("wss://{address}/relay"), pem)
}

#[actix_web::test]
async fn a_configured_private_authority_is_trusted_for_the_link_and_for_provisioning() {
    let mut world = World::prepare().await;
    let credentials = credentials(&world).await;
    let (url, pem) = tls(&world, ShownCertificate::Good).await;
    world.write("ca.pem", &pem);
    world.configure("relay: {ca_file: ca.pem}\n");
    // Without credentials: provisioning uses the same trust.
    world.write(".env", &format!("GATEWAY_RELAY_URL={url}\nGATEWAY_RELAY_ID=world\nGATEWAY_RELAY_PLATFORMS=discord\n"));
    world.variable("GATEWAY_RELAY_ACCESS_TOKEN", text(&credentials, "accessToken"));
    world.serve().await;
    assert!(world.gateway().log().contains("relay self-provisioned"));
    world.push("m1", "hello", "c", None).await;
    world.answer("m1").await;
}

#[actix_web::test]
async fn an_unknown_or_expired_certificate_or_one_for_another_name_is_refused() {
    for (shown, trusted) in
        [(ShownCertificate::Good, false), (ShownCertificate::Expired, true), (ShownCertificate::OfAnother, true)]
    {
        let mut world = World::prepare().await;
        let (url, pem) = tls(&world, shown).await;
        world.write("ca.pem", &pem);
        let env = fs::read_to_string(world.path(".env")).unwrap();
        world.write(".env", &env.replace(&format!("{}/relay", world.connector.url), &url));
        if trusted {
            world.variable("GATEWAY_RELAY_CA_FILE", &world.path("ca.pem").display().to_string());
        }
        world.serve_unlinked();
        let status = world.until("a refused dial", |status| status["relay"][0]["state"] == "waiting").await;
        let error = status["relay"][0]["last_error"].as_str().unwrap();
        let expected = match shown {
            ShownCertificate::Good => "UnknownIssuer",
            ShownCertificate::Expired => "expired",
            ShownCertificate::OfAnother => "not valid for",
        };
        assert!(error.contains(expected), "{error}");
    }
}
