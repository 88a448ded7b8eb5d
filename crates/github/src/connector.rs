//! The HTTP connection under octocrab: TCP_NODELAY, connect time-out, our trust roots, no redirects.

use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::client::BuildError;

pub(crate) type Connector = HttpsConnector<HttpConnector>;

pub(crate) fn connector(
    extra_roots_pem: Option<&[u8]>,
    plain: bool,
    connect: Duration,
) -> Result<Connector, BuildError> {
    let tls = tls(extra_roots_pem, plain)
        .map_err(|why| BuildError(format!("the trust roots cannot be used: {why}")))?;
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(connect));
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(http))
}

fn tls(
    extra_roots_pem: Option<&[u8]>,
    plain: bool,
) -> Result<ClientConfig, Box<dyn std::error::Error>> {
    let provider = CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = match extra_roots_pem {
        // A plain address needs no roots, and an image without any must still reach a stand-in on this machine.
        None if plain => builder.with_root_certificates(RootCertStore::empty()),
        None => builder.with_native_roots()?,
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate?)?;
            }
            builder.with_root_certificates(roots)
        }
    };
    Ok(builder.with_no_client_auth())
}
