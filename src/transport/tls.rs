//! TLS 1.3 with a certificate made at start: it encrypts the traffic, and binds the password
//! exchange to this connection (protocol.md section 1). It does not authenticate the peer; the
//! handshake does.
//!
//! The key exchange is X25519MLKEM768, so that a future quantum computer cannot decrypt traffic
//! recorded today, or X25519 with a peer that supports no other.

use quinn::Connection;
use quinn::crypto::rustls::NoInitialCipherSuite;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::kx_group;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, NamedGroup, SignatureScheme};
use std::sync::Arc;

mod hybrid;
mod negotiated;
#[cfg(test)]
mod tests;

use hybrid::{Hybrid, X25519MLKEM768};
use negotiated::{Negotiated, NegotiatedClient, NegotiatedServer, Recorded};
use rand::rngs::SysRng;

/// The name and version of the wire protocol. Another version has another name, and fails in TLS.
pub const PROTOCOL: &str = "rft/1";
/// The only application protocol.
pub const ALPN: &[u8] = PROTOCOL.as_bytes();
/// The name in every certificate. It has no meaning, since peers have no names.
pub const SERVER_NAME: &str = "rft";

/// TLS could not be configured: the random generator or a library failed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate could not be generated.
    #[error("could not make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// rustls rejected the configuration.
    #[error("could not set up TLS: {0}")]
    Config(#[from] Error),
    /// The provider lacks the cipher suite of QUIC's Initial packets.
    #[error("could not set up QUIC: {0}")]
    Suite(#[from] NoInitialCipherSuite),
}

/// The configuration of both roles, for the life of the process.
pub struct Tls {
    /// For incoming connections.
    pub server: Arc<dyn quinn::crypto::ServerConfig>,
    /// For dialled connections.
    pub client: Arc<dyn quinn::crypto::ClientConfig>,
}

/// The key exchange groups, the preferred one first. The client sends key shares for both at once
/// (`hybrid`).
static GROUPS: [&dyn SupportedKxGroup; 2] = [&HYBRID, &X25519];
static HYBRID: Recorded<Hybrid<SysRng>> = Recorded(&X25519MLKEM768);
static X25519: Recorded<dyn SupportedKxGroup> = Recorded(kx_group::X25519);

/// Makes a key and a self-signed certificate, and TLS 1.3 around them: no 0-RTT, no tickets, no
/// resumption, no client certificate.
///
/// # Errors
/// [`TlsError`] if a library fails.
pub fn configure() -> Result<Tls, TlsError> {
    configure_with(&GROUPS)
}

/// [`configure`] with these key exchange groups.
fn configure_with(groups: &[&'static dyn SupportedKxGroup]) -> Result<Tls, TlsError> {
    let (server, client) = rustls_configs(groups)?;
    let preferred = groups.first().copied().unwrap_or(&HYBRID);
    Ok(Tls {
        server: Arc::new(NegotiatedServer(Arc::new(server.try_into()?))),
        client: Arc::new(NegotiatedClient { config: Arc::new(client.try_into()?), preferred }),
    })
}

/// The key exchange group of a connection, by its IANA name.
pub fn key_exchange(connection: &Connection) -> Option<&'static str> {
    let negotiated = connection.handshake_data()?.downcast::<Negotiated>().ok()?;
    match negotiated.group {
        NamedGroup::X25519MLKEM768 => Some("X25519MLKEM768"),
        NamedGroup::X25519 => Some("X25519"),
        _ => None,
    }
}

fn rustls_configs(
    groups: &[&'static dyn SupportedKxGroup],
) -> Result<(rustls::ServerConfig, rustls::ClientConfig), TlsError> {
    let provider =
        CryptoProvider { kx_groups: groups.to_vec(), ..rustls::crypto::ring::default_provider() };
    let provider = Arc::new(provider);
    let made = rcgen::generate_simple_self_signed(vec![SERVER_NAME.to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());

    let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())?;
    server.alpn_protocols = vec![ALPN.to_vec()];
    server.max_early_data_size = 0;
    server.send_tls13_tickets = 0;

    let mut client = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.resumption = Resumption::disabled();
    client.enable_early_data = false;

    Ok((server, client))
}

/// Accepts any certificate, but verifies that the server holds its key. Otherwise the exporter, to
/// which the password exchange is bound, might not be the server's.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
