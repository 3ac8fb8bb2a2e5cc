//! TLS 1.3 with a certificate made at start: it hides what passes, and binds the password exchange
//! to this very connection (protocol.md section 1). It proves nothing about who the peer is; that
//! is the handshake's task.

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use std::sync::Arc;

/// The only protocol that is spoken; another version has another name and fails in TLS.
pub const ALPN: &[u8] = b"rft/1";
/// The name in every certificate. It means nothing: peers have no names.
pub const SERVER_NAME: &str = "rft";

/// Why the configuration cannot be made: a broken random generator or library.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate.
    #[error("could not make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// No configuration.
    #[error("could not set up TLS: {0}")]
    Config(#[from] Error),
    /// The provider lacks the cipher suite that QUIC begins with.
    #[error("could not set up QUIC: {0}")]
    Suite(#[from] NoInitialCipherSuite),
}

/// Both sides' configuration, for one process's life.
pub struct Tls {
    /// For who dials us.
    pub server: Arc<QuicServerConfig>,
    /// For whom we dial.
    pub client: Arc<QuicClientConfig>,
}

/// Makes a key and a self-signed certificate, and TLS 1.3 around them: no 0-RTT, no tickets, no
/// resumption, no client certificate.
///
/// # Errors
/// [`TlsError`] when a library fails.
pub fn configure() -> Result<Tls, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
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

    Ok(Tls { server: Arc::new(server.try_into()?), client: Arc::new(client.try_into()?) })
}

/// Takes any certificate, but checks that the server holds its key: else the exporter, to which the
/// password exchange is bound, would not be its own.
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
