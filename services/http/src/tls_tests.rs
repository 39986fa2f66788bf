//! Certificates by their behaviour: what is read, what is refused, what stays.
use super::*;

/// A certificate for "localhost" and its key, self-signed.
fn pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new((cert, key): &(String, String)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = Self { folder };
        files.put(cert, key);
        files
    }

    fn put(&self, cert: &str, key: &str) {
        std::fs::write(self.cert(), cert).unwrap();
        std::fs::write(self.key(), key).unwrap();
    }

    fn cert(&self) -> PathBuf {
        self.folder.path().join("server.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("server.key")
    }

    fn load(&self) -> Result<Certificates, TlsError> {
        Certificates::load(&self.cert(), &self.key())
    }
}

#[test]
fn a_new_pair_is_taken_once_and_a_bad_one_never() {
    let (first, second) = (pair(), pair());
    let files = Files::new(&first);
    let certificates = files.load().unwrap();
    let before = certificates.current.load_full();
    assert_eq!(certificates.reload_if_changed(), Ok(false));
    // Half of the change: a certificate whose key is not there yet.
    files.put(&second.0, &first.1);
    for _ in 0..2 {
        let why = certificates.reload_if_changed().unwrap_err();
        assert!(why.contains("do not go together"), "{why}");
    }
    assert!(Arc::ptr_eq(&before, &certificates.current.load_full()));
    files.put(&second.0, &second.1);
    assert_eq!(certificates.reload_if_changed(), Ok(true));
    assert!(!Arc::ptr_eq(&before, &certificates.current.load_full()));
    assert_eq!(certificates.reload_if_changed(), Ok(false));
    std::fs::remove_file(files.key()).unwrap();
    let why = certificates.reload_if_changed().unwrap_err();
    assert!(why.contains("server.key"), "{why}");
    files.put(&second.0, &second.1);
    assert_eq!(certificates.reload_if_changed(), Ok(false));
}

#[test]
fn what_is_wrong_with_the_files_is_said() {
    let (first, second) = (pair(), pair());
    let why = |cert: &str, key: &str| {
        let error = Files::new(&(cert.to_owned(), key.to_owned())).load();
        error.unwrap_err().to_string()
    };
    assert!(why(&first.0, &second.1).contains("do not go together"));
    assert!(why(&first.1, &first.1).contains("there is none in it"));
    assert!(why("", &first.1).contains("server.pem"));
    assert!(why(&first.0, &first.0).contains("no private key"));
    let cut = &first.0[..first.0.len() / 2];
    assert!(why(cut, &first.1).contains("server.pem"));
    let missing = Certificates::load(Path::new("/nowhere/a.pem"), Path::new("/nowhere/a.key"));
    assert!(missing.unwrap_err().to_string().contains("/nowhere/a.pem"));
}
