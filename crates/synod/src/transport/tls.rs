//! TLS: who may connect to a cluster, and who a node really is.
//!
//! A cluster has a certificate authority (CA) of its own. Whoever has a certificate of it may
//! connect, nodes and clients alike, and both sides show theirs: no other is trusted, not those of
//! the operating system either. A node's certificate carries the DNS name `node-<id>.synod`; so a
//! node is who its certificate says, whatever address it has, and no node can pass for another. It
//! may carry more names, also of other nodes, and further ones for other programs. TLS 1.3 only;
//! every connection proves itself anew.
//!
//! # Certificates with openssl
//!
//! The authority, once. Keep `ca.key` where no node is:
//!
//! ```sh
//! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 3650 \
//!     -subj "/CN=synod CA" -keyout ca.key -out ca.pem \
//!     -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
//! ```
//!
//! Node 1; likewise the others, each with its own number:
//!
//! ```sh
//! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 365 \
//!     -subj "/CN=node-1" -keyout node-1.key -out node-1.pem -CA ca.pem -CAkey ca.key \
//!     -addext basicConstraints=critical,CA:FALSE \
//!     -addext subjectAltName=DNS:node-1.synod -addext extendedKeyUsage=serverAuth,clientAuth
//! ```
//!
//! A client; its name is its own affair, as long as it is not a node's:
//!
//! ```sh
//! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 365 \
//!     -subj "/CN=app" -keyout app.key -out app.pem -CA ca.pem -CAkey ca.key \
//!     -addext basicConstraints=critical,CA:FALSE \
//!     -addext subjectAltName=DNS:app.example -addext extendedKeyUsage=clientAuth
//! ```
//!
//! (`-CA` with `-x509` needs OpenSSL 3.) To replace the authority, give everyone both: a file may
//! hold several certificates, and all in `ca` are trusted.

use std::{fmt, sync::Arc};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error as RustlsError,
    RootCertStore, ServerConfig, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{
        NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier, danger::ClientCertVerifier,
    },
};
use synod_paxos::NodeId;
use webpki::EndEntityCert;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Something is not PEM, or not what it should be.
    #[error("the {what} cannot be read: {why}; it must be PEM, \"-----BEGIN ...-----\"")]
    Unreadable {
        /// "CA", "certificate" or "key".
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// There is no such thing in what was given.
    #[error("there is no {what} in what was given as {what}: is it another file's content?")]
    Missing {
        /// "CA", "certificate" or "key".
        what: &'static str,
    },
    /// The key is not the certificate's.
    #[error("the key does not belong to the certificate: give the key with which it was made")]
    KeyMismatch,
    /// No other node would take our certificate.
    #[error("our own certificate is of no use: {0}")]
    Own(TlsFailure),
    /// What rustls says, in a case that we do not know.
    #[error("TLS cannot be set up: {0}")]
    Other(RustlsError),
}

/// Why a connection with TLS is none.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum TlsFailure {
    /// Signed by somebody else.
    #[error(
        "the certificate is not of our CA: all nodes and clients of a cluster need certificates \
         of the same CA"
    )]
    WrongCa,
    /// No longer valid.
    #[error("the certificate has expired, or a clock is wrong: renew it")]
    Expired,
    /// Not yet valid.
    #[error("the certificate is not valid yet: is a clock wrong?")]
    NotYetValid,
    /// Valid, but somebody else's.
    #[error(
        "the certificate is for {}, not for {expected}: the address leads to another node, or that \
         node was given the wrong certificate",
        or_nobody(presented)
    )]
    WrongName {
        /// Whom it should be for.
        expected: String,
        /// Whom it is for.
        presented: Vec<String>,
    },
    /// Made for something else.
    #[error(
        "the certificate is not for this use: a node's needs the extended key usages serverAuth \
         and clientAuth, a client's clientAuth, or none needs any"
    )]
    WrongUse,
    /// There is none.
    #[error("the other side shows no certificate: give it one of our CA")]
    NoCertificate,
    /// We speak TLS, they do not.
    #[error("the other side does not speak TLS, but this one does: configure both alike")]
    PlainPeer,
    /// They speak TLS, we do not.
    #[error("the other side speaks TLS, but this one does not: configure both alike")]
    TlsPeer,
    /// They would not have us.
    #[error("the other side refuses our certificate, because {}", reason(*.0))]
    Refused(AlertDescription),
    /// The connection was closed before both had shown who they are.
    #[error(
        "the other side closed the connection before TLS was set up: does it speak TLS, and is it \
         running?"
    )]
    Ended,
    /// What rustls says, in a case that we do not know.
    #[error("TLS failed: {0}; if it happens again, compare the versions at both ends")]
    Other(RustlsError),
}

fn or_nobody(names: &[String]) -> String {
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

/// What an alert says about the one who gets it.
fn reason(alert: AlertDescription) -> String {
    if alert == AlertDescription::UnknownCA || alert == AlertDescription::DecryptError {
        "it is not of the CA that it trusts: both need certificates of the same CA".to_owned()
    } else if alert == AlertDescription::CertificateExpired {
        "it has expired or is not valid yet: renew it, or set the clocks".to_owned()
    } else if alert == AlertDescription::CertificateRequired {
        "there is none: configure one of its CA".to_owned()
    } else if alert == AlertDescription::BadCertificate {
        "it is for another name: the certificate of another node was configured here, or the \
         address leads to another node than is believed there"
            .to_owned()
    } else if alert == AlertDescription::UnsupportedCertificate {
        "it is not for this use: a node's needs serverAuth and clientAuth, a client's clientAuth"
            .to_owned()
    } else {
        format!("{alert:?}: see what it says itself")
    }
}

impl From<RustlsError> for TlsFailure {
    fn from(error: RustlsError) -> Self {
        if let RustlsError::InvalidCertificate(error) = error {
            return error.into();
        }
        if let RustlsError::AlertReceived(alert) = error {
            return Self::Refused(alert);
        }
        if error == RustlsError::NoCertificatesPresented {
            Self::NoCertificate
        } else {
            Self::Other(error)
        }
    }
}

impl From<CertificateError> for TlsFailure {
    fn from(error: CertificateError) -> Self {
        use CertificateError as E;
        if let E::NotValidForNameContext { expected, presented } = error {
            // webpki quotes Rust: `DnsName("node-1.synod")`.
            let bare = |name: &String| match name.split_once('"') {
                Some((_, rest)) => rest.trim_end_matches(['"', ')']).to_owned(),
                None => name.clone(),
            };
            let presented = presented.iter().map(bare).collect();
            let expected = match &*expected.to_str() {
                ANY => "any node (node-<id>.synod)".to_owned(),
                name => name.to_owned(),
            };
            return Self::WrongName { expected, presented };
        }
        // Another CA of the same name shows as a bad signature.
        if matches!(error, E::UnknownIssuer | E::BadSignature) {
            Self::WrongCa
        } else if matches!(error, E::Expired | E::ExpiredContext { .. }) {
            Self::Expired
        } else if matches!(error, E::NotValidYet | E::NotValidYetContext { .. }) {
            Self::NotYetValid
        } else if matches!(error, E::InvalidPurpose | E::InvalidPurposeContext { .. }) {
            Self::WrongUse
        } else {
            Self::Other(RustlsError::InvalidCertificate(error))
        }
    }
}

/// A certificate, its key, and the CA that others must have theirs from. Cloning is cheap.
#[derive(Clone)]
pub struct Tls {
    certificate: CertificateDer<'static>,
    /// For connections to a node whose id is known.
    known: Arc<ClientConfig>,
    /// For connections to whatever node there is.
    any: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&names(&self.certificate)).finish()
    }
}

impl Tls {
    /// Sets up TLS from PEM: the CA's certificate (or several), our certificate (followed by those
    /// between it and the CA's, if there are any), and its key.
    ///
    /// # Errors
    /// When they cannot be read or do not fit together, and when our certificate is not of the CA
    /// or not valid now: nobody would take it.
    pub fn from_pem(ca: &[u8], cert: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = roots(ca)?;
        let chain = certificates("certificate", cert)?;
        let certificate = chain.first().ok_or(TlsError::Missing { what: "certificate" })?.clone();
        let key = match PrivateKeyDer::pem_slice_iter(key).next() {
            Some(key) => key.map_err(|error| unreadable("key", &error))?,
            None => return Err(TlsError::Missing { what: "key" }),
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| unreadable("CA", &error))?;
        let dialed = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| unreadable("CA", &error))?;
        dialed
            .verify_client_cert(&certificate, chain.get(1..).unwrap_or(&[]), UnixTime::now())
            .map_err(|error| TlsError::Own(error.into()))?;
        let own = Own { provider: provider.clone(), chain, key };
        let any = AnyNode { roots, provider };
        Ok(Self {
            certificate,
            known: own.client(verifier, true)?.into(),
            any: own.client(Arc::new(any), false)?.into(),
            server: own.server(dialed)?.into(),
        })
    }

    /// Whether our own certificate is that of `node`.
    #[must_use]
    pub fn is_of(&self, node: NodeId) -> bool {
        is_valid_for(&self.certificate, node)
    }

    /// The beginning of a connection to `node`, or to any node.
    pub(super) fn dial(&self, node: Option<NodeId>) -> Result<rustls::Connection, TlsFailure> {
        let (config, name) = match node {
            Some(node) => (&self.known, name(node)),
            None => (&self.any, ANY.to_owned()),
        };
        let name = ServerName::try_from(name)
            .map_err(|_| TlsFailure::Other(RustlsError::UnsupportedNameType))?;
        Ok(rustls::ClientConnection::new(config.clone(), name)?.into())
    }

    /// The beginning of a connection that somebody else has made.
    pub(super) fn accept(&self) -> Result<rustls::Connection, TlsFailure> {
        Ok(rustls::ServerConnection::new(self.server.clone())?.into())
    }
}

/// What we show.
struct Own {
    provider: Arc<CryptoProvider>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Own {
    fn client(
        &self,
        verifier: Arc<dyn ServerCertVerifier>,
        named: bool,
    ) -> Result<ClientConfig, TlsError> {
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(own_failure)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(own_failure)?;
        // Connections live long; what was proved to an earlier one is not taken over.
        config.resumption = Resumption::disabled();
        config.enable_sni = named;
        Ok(config)
    }

    fn server(&self, verifier: Arc<dyn ClientCertVerifier>) -> Result<ServerConfig, TlsError> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(own_failure)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(own_failure)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

fn own_failure(error: RustlsError) -> TlsError {
    if let RustlsError::InvalidCertificate(error) = error {
        return TlsError::Own(error.into());
    }
    // So does rustls report a kind of key that it cannot use.
    if let RustlsError::General(why) = error {
        return TlsError::Unreadable { what: "key", why };
    }
    let mismatch = matches!(error, RustlsError::InconsistentKeys(_));
    if mismatch { TlsError::KeyMismatch } else { TlsError::Other(error) }
}

fn unreadable(what: &'static str, why: &impl ToString) -> TlsError {
    TlsError::Unreadable { what, why: why.to_string() }
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|error| unreadable(what, &error))?;
    if chain.is_empty() { Err(TlsError::Missing { what }) } else { Ok(chain) }
}

fn roots(ca: &[u8]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("CA", ca)? {
        roots.add(certificate).map_err(|error| unreadable("CA", &error))?;
    }
    Ok(Arc::new(roots))
}

/// What stands for the name where any node will do. It is in no certificate, and is not sent.
const ANY: &str = "any.synod";

/// The name in a node's certificate.
fn name(node: NodeId) -> String {
    format!("node-{}.synod", node.0)
}

/// Whether a certificate, verified before, is that of `node`.
pub(super) fn is_valid_for(certificate: &CertificateDer<'_>, node: NodeId) -> bool {
    let (Ok(name), Ok(certificate)) =
        (ServerName::try_from(name(node)), EndEntityCert::try_from(certificate))
    else {
        return false;
    };
    certificate.verify_is_valid_for_subject_name(&name).is_ok()
}

fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else { return Vec::new() };
    certificate.valid_dns_names().map(str::to_owned).collect()
}

/// Whether a name in a certificate is a node's.
fn is_node(presented: &str) -> bool {
    let presented = presented.to_ascii_lowercase();
    let id = presented.strip_prefix("node-").and_then(|rest| rest.strip_suffix(".synod"));
    let id = id.and_then(|id| id.parse().ok()).map(NodeId);
    id.is_some_and(|id| name(id) == presented)
}

/// Verifies that the other side is a node, whichever: a chain to our CA as always, and a node's
/// name instead of a certain node's.
#[derive(Debug)]
struct AnyNode {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyNode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        let presented = names(end_entity);
        if presented.iter().any(|name| is_node(name)) {
            return Ok(ServerCertVerified::assertion());
        }
        let expected = ServerName::try_from(ANY).map_err(|_| RustlsError::UnsupportedNameType)?;
        Err(CertificateError::NotValidForNameContext { expected: expected.to_owned(), presented }
            .into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
