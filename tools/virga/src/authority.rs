//! A certificate authority of the cloud's own, for `virga up --tls`: made at the
//! first start, so that a cloud on one machine has TLS before anybody has
//! bought a certificate.
//!
//! `DIR/ca.pem` is what clients are given (`OS_CACERT`). Its key lies beside the
//! other secrets, with the certificate that the ports show; that one is made
//! anew at every start, for the names that the cloud has now, and again while
//! the cloud runs, long before it ends. Operators with an authority of their
//! own name their files in the configuration, and nothing here is used.
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SerialNumber,
};
use virga_node::clock::{Clock, Micros};
use zeroize::Zeroizing;

use crate::secrets;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Clocks of clients may be behind ours.
const BEFORE: Duration = DAY;
/// Life of the authority.
const AUTHORITY_DAYS: u32 = 3650;
/// Life of the certificate that is shown: what browsers accept at most.
const SERVER_DAYS: u32 = 397;
/// After this long a certificate is made anew.
const RENEW_AFTER: Duration = Duration::from_secs(60 * 24 * 3600);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be read or written.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    /// The authority's key is damaged.
    #[error(
        "{0}: {1}; restore it from a backup, or remove it together with ca.pem: clients then need the new ca.pem"
    )]
    Damaged(String, rcgen::Error),
    /// A key or certificate cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    /// The system gave no random bytes.
    #[error("no random bytes from the system: {0}")]
    Chance(getrandom::Error),
}

/// Where the authority of a cloud keeps its things.
#[derive(Clone, Debug)]
pub struct Authority {
    data: PathBuf,
    secrets: PathBuf,
    names: Vec<String>,
}

impl Authority {
    /// The authority of the cloud in `data`, whose ports have these names and
    /// addresses.
    pub fn new(data: &Path, secrets: &Path, names: Vec<String>) -> Self {
        Self {
            data: data.to_owned(),
            secrets: secrets.join("tls"),
            names,
        }
    }

    /// What clients trust.
    pub fn root(&self) -> PathBuf {
        self.data.join("ca.pem")
    }

    /// The certificate that ports show.
    pub fn cert(&self) -> PathBuf {
        self.secrets.join("server.pem")
    }

    /// Its key.
    pub fn key(&self) -> PathBuf {
        self.secrets.join("server.key")
    }

    /// Makes the authority if there is none, and a certificate for the names.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn issue(&self, clock: &dyn Clock) -> Result<(), AuthorityError> {
        secrets::private_folder(&self.secrets).map_err(|e| failed(&self.secrets, e))?;
        let now = clock.now();
        let issuer = self.issuer(now)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(self.names.clone())?;
        params.distinguished_name = named("Virga");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        lives(&mut params, now, SERVER_DAYS)?;
        let cert = params.signed_by(&key, &issuer)?;
        // The key first: a reload between the two sees a pair that does not
        // match, keeps the old one and looks again.
        let text = Zeroizing::new(key.serialize_pem());
        write(&self.key(), &text)?;
        write(&self.cert(), &cert.pem())
    }

    /// Makes a new certificate when the one in use is old. Returns whether it was.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn renew(&self, clock: &dyn Clock) -> Result<bool, AuthorityError> {
        let cert = self.cert();
        let made = std::fs::metadata(&cert).and_then(|m| m.modified());
        let made = made.map_err(|e| failed(&cert, e))?;
        let made = made.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let now = Duration::from_micros(clock.now().0);
        let old = now.saturating_sub(made) >= RENEW_AFTER;
        if old {
            self.issue(clock)?;
        }
        Ok(old)
    }

    /// The authority, as it signs.
    fn issuer(&self, now: Micros) -> Result<Issuer<'static, KeyPair>, AuthorityError> {
        let (file, root) = (self.secrets.join("ca.key"), self.root());
        let key = match std::fs::read_to_string(&file).map(Zeroizing::new) {
            Ok(text) => KeyPair::from_pem(&text)
                .map_err(|e| AuthorityError::Damaged(file.display().to_string(), e))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let key = KeyPair::generate()?;
                write(&file, &Zeroizing::new(key.serialize_pem()))?;
                key
            }
            Err(e) => return Err(failed(&file, e)),
        };
        let mut params = CertificateParams::new(Vec::new())?;
        // The key's own mark keeps two authorities of the same name apart.
        params.distinguished_name = named(&format!("Virga {}", mark(&key)));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        lives(&mut params, now, AUTHORITY_DAYS)?;
        if !root.exists() {
            let cert = params.self_signed(&key)?;
            std::fs::write(&root, cert.pem()).map_err(|e| failed(&root, e))?;
        }
        Ok(Issuer::new(params, key))
    }
}

fn failed(file: &Path, error: std::io::Error) -> AuthorityError {
    AuthorityError::File(file.display().to_string(), error)
}

fn write(file: &Path, text: &str) -> Result<(), AuthorityError> {
    secrets::write_private(file, text).map_err(|e| failed(file, e))
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

/// A few letters that tell a key from others.
fn mark(key: &KeyPair) -> String {
    let raw = key.public_key_raw();
    hex::encode(&raw[raw.len().saturating_sub(4)..])
}

/// Sets from when and until when a certificate is good, in whole days, and its
/// number.
fn lives(params: &mut CertificateParams, now: Micros, days: u32) -> Result<(), AuthorityError> {
    let (year, month, first) = day(Micros(now.0.saturating_sub(micros(BEFORE))));
    params.not_before = rcgen::date_time_ymd(year, month, first);
    let (year, month, last) = day(now.plus(DAY * days));
    params.not_after = rcgen::date_time_ymd(year, month, last);
    let mut number = [0; 16];
    getrandom::fill(&mut number).map_err(AuthorityError::Chance)?;
    // Positive, as numbers of certificates must be.
    number[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&number));
    Ok(())
}

fn micros(of: Duration) -> u64 {
    u64::try_from(of.as_micros()).unwrap_or(u64::MAX)
}

/// The day of a moment: year, month, day.
fn day(at: Micros) -> (i32, u8, u8) {
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    let stamp = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let date = stamp.to_zoned(jiff::tz::TimeZone::UTC).date();
    let small = |n: i8| u8::try_from(n).unwrap_or(1);
    (i32::from(date.year()), small(date.month()), small(date.day()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use virga_http::tls::Certificates;
    use virga_node::clock::SystemClock;

    use super::*;

    fn authority(folder: &Path, name: &str) -> Authority {
        Authority::new(folder, &folder.join("secrets"), vec![name.to_owned()])
    }

    #[test]
    fn the_authority_stays_and_its_certificate_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let first = authority(folder.path(), "127.0.0.1");
        first.issue(&SystemClock).unwrap();
        let read = |file: PathBuf| std::fs::read_to_string(file).unwrap();
        let (root, cert) = (read(first.root()), read(first.cert()));
        let again = authority(folder.path(), "cloud.example");
        again.issue(&SystemClock).unwrap();
        assert_eq!(read(again.root()), root);
        assert_ne!(read(again.cert()), cert);
        Certificates::load(&again.cert(), &again.key()).unwrap();
        for secret in [again.key(), folder.path().join("secrets/tls/ca.key")] {
            let mode = std::fs::metadata(&secret).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", secret.display());
        }
    }

    #[test]
    fn an_old_certificate_is_renewed_and_a_young_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let authority = authority(folder.path(), "127.0.0.1");
        authority.issue(&SystemClock).unwrap();
        let cert = std::fs::read(authority.cert()).unwrap();
        assert!(!authority.renew(&SystemClock).unwrap());
        let later = SystemClock.now().plus(RENEW_AFTER + DAY);
        let later = virga_node::clock::ManualClock::new(later);
        assert!(authority.renew(&later).unwrap());
        assert_ne!(std::fs::read(authority.cert()).unwrap(), cert);
    }

    #[test]
    fn a_damaged_key_is_an_error_and_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let authority = authority(folder.path(), "127.0.0.1");
        authority.issue(&SystemClock).unwrap();
        let file = folder.path().join("secrets/tls/ca.key");
        std::fs::write(&file, "rubbish").unwrap();
        assert!(matches!(
            authority.issue(&SystemClock),
            Err(AuthorityError::Damaged(..))
        ));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "rubbish");
    }
}
