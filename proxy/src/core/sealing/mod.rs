//! Objects sealed at rest: every dialect writes and reads plain bytes, and what
//! nodes get is encrypted.
//!
//! Each object has a key of its own ([`pad`]). [`Seal::Cloud`]: it is made by
//! chance and stored with the object, wrapped by the cloud's keys
//! ([`CloudKeys`]). [`Seal::Client`]: it is derived from a key that the client
//! shows with each request and nobody stores; what is stored tells only whether
//! a key is the right one. As many bytes are stored as were sent, so sizes,
//! ranges and segments are what they would be without.
//!
//! A [`Core`] opens what the cloud sealed if it was given the cloud's keys, and
//! what a client sealed in the hands of [`Core::with_client_key`]. What it cannot
//! open it refuses: sealed bytes are never shown as if they were the object's.
//! An object that is stored with the metadata of one that the cloud sealed is
//! sealed anew.
//!
//! Nodes know nothing of it. Why it is done like this: decision 12.
mod body;
mod pad;

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use virga_object_wire::listing::MetaItem;
use virga_object_wire::object::{Header, ObjectStat};
use zeroize::Zeroizing;

use super::error::{PutObjectError, ReadObjectError, Unavailable};
use super::{Core, NewObject};

pub(super) use self::body::{Treatment, Work};
pub(super) use self::pad::Pad;

/// System metadata of a sealed object: how. Nobody but the core writes it.
const HOW: &str = "x-object-sysmeta-sealing";
/// Container metadata: what is stored in it is sealed by the cloud ("cloud")
/// unless it is asked to be sealed otherwise.
pub const DEFAULT: &str = "x-container-sysmeta-sealing";
/// The one value of [`DEFAULT`], and what [`HOW`] begins with.
pub const CLOUD: &str = "cloud";
/// What [`HOW`] begins with for a client's key.
const CLIENT: &str = "client";
/// What a data key and a check are derived for.
const DATA: &[u8] = b"virga sealed object, data key, v1";
const CHECK: &[u8] = b"virga sealed object, check, v1";

/// A key that a client shows and nobody keeps.
#[derive(Clone)]
pub struct ClientKey(Arc<Zeroizing<[u8; 32]>>);

impl ClientKey {
    /// Takes the 256 bits.
    pub fn new(key: [u8; 32]) -> Self {
        Self(Arc::new(Zeroizing::new(key)))
    }

    fn derived(&self, purpose: &[u8], salt: &[u8; 16]) -> Zeroizing<[u8; 32]> {
        // HMAC takes a key of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.as_slice()) else {
            unreachable!("HMAC refused a 32 byte key")
        };
        mac.update(purpose);
        mac.update(salt);
        Zeroizing::new(mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKey(..)")
    }
}

/// With whose key an object is to be sealed.
#[derive(Clone, Debug)]
pub enum Seal {
    /// The cloud's.
    Cloud,
    /// The client's own.
    Client(ClientKey),
}

/// The keys that the cloud wraps the keys of objects with.
pub trait CloudKeys: Send + Sync {
    /// Wraps an object's key; `None` if that cannot be done now.
    fn wrap(&self, key: &[u8; 32]) -> Option<String>;
    /// Unwraps it; `None` if it was wrapped with a key that is not here.
    fn unwrap(&self, wrapped: &str) -> Option<Zeroizing<[u8; 32]>>;
}

/// How a stored object is sealed, as its metadata says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// By the cloud.
    Cloud {
        /// The object's key.
        wrapped: String,
    },
    /// By a client.
    Client(Check),
    /// In a way that is not known here.
    Unknown,
}

/// What tells whether a client's key is the right one, and nothing else of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    salt: [u8; 16],
    value: [u8; 32],
}

impl Check {
    /// A new one for a key; `None` without chance from the system.
    pub fn of(key: &ClientKey) -> Option<Self> {
        let salt = chance()?;
        Some(Self {
            value: *key.derived(CHECK, &salt),
            salt,
        })
    }

    /// Whether this is the key.
    pub fn fits(&self, key: &ClientKey) -> bool {
        self.value.ct_eq(&*key.derived(CHECK, &self.salt)).into()
    }

    /// As text, to be kept.
    pub fn to_text(&self) -> String {
        format!("{} {}", hex::encode(self.salt), hex::encode(self.value))
    }

    /// Reads the text; `None` for what is none.
    pub fn from_text(text: &str) -> Option<Self> {
        let (salt, value) = text.split_once(' ')?;
        Some(Self {
            salt: hex::decode(salt).ok()?.try_into().ok()?,
            value: hex::decode(value).ok()?.try_into().ok()?,
        })
    }
}

impl Sealed {
    /// How a stored object is sealed; `None` if it is not.
    pub fn of(stat: &ObjectStat) -> Option<Self> {
        Self::found(&stat.meta.sysmeta)
    }

    fn found(sysmeta: &[Header]) -> Option<Self> {
        let (_, how) = sysmeta.iter().find(|(name, _)| name == HOW)?;
        let (by, rest) = how.split_once(' ').unwrap_or((how, ""));
        Some(match by {
            CLOUD if !rest.is_empty() => Self::Cloud {
                wrapped: rest.to_owned(),
            },
            CLIENT => Check::from_text(rest).map_or(Self::Unknown, Self::Client),
            _ => Self::Unknown,
        })
    }

    fn item(&self) -> Header {
        let how = match self {
            Self::Cloud { wrapped } => format!("{CLOUD} {wrapped}"),
            Self::Client(check) => format!("{CLIENT} {}", check.to_text()),
            Self::Unknown => String::new(),
        };
        (HOW.to_owned(), how)
    }
}

/// How objects of a container with this metadata are sealed unless something
/// else is asked for.
pub fn default_of(container: &[MetaItem]) -> Option<Seal> {
    let mut items = container.iter();
    let asked = items.any(|item| item.name == DEFAULT && item.value == CLOUD);
    asked.then_some(Seal::Cloud)
}

/// Bytes of chance from the system.
fn chance<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}

/// What a core can open.
#[derive(Clone, Default)]
pub(super) struct Opener {
    cloud: Option<Arc<dyn CloudKeys>>,
    client: Option<ClientKey>,
    /// Reads and writes sealed objects as they are stored.
    as_stored: bool,
}

impl Opener {
    fn cloud(&self) -> Result<&Arc<dyn CloudKeys>, Unavailable> {
        let why = "this proxy has no keys to seal objects with: the folder object-keys is missing";
        self.cloud.as_ref().ok_or(Unavailable::NoKey(why))
    }

    /// What turns the stored bytes of an object into its own; `None` where they
    /// are.
    pub(super) fn pad(&self, stat: &ObjectStat) -> Result<Option<Pad>, ReadObjectError> {
        let sealed = match Sealed::of(stat) {
            Some(sealed) if !self.as_stored => sealed,
            _ => return Ok(None),
        };
        match sealed {
            Sealed::Cloud { wrapped } => {
                let key = self.cloud()?.unwrap(&wrapped);
                let why = "the object is sealed with a key that is not here: restore it in object-keys";
                let key = key.ok_or(Unavailable::NoKey(why))?;
                Ok(Some(Pad::new(&key)))
            }
            Sealed::Client(check) => match &self.client {
                Some(key) if check.fits(key) => Ok(Some(Pad::new(&key.derived(DATA, &check.salt)))),
                key => Err(ReadObjectError::Sealed { given: key.is_some() }),
            },
            Sealed::Unknown => {
                Err(Unavailable::NoKey("the object is sealed in a way that is not known here").into())
            }
        }
    }

    /// Prepares an object that is to be stored: what its bytes go through.
    pub(super) fn seal(
        &self,
        new: &mut NewObject,
        container: &[MetaItem],
    ) -> Result<Treatment, PutObjectError> {
        let before = Sealed::found(&new.sysmeta);
        if self.as_stored && before.is_some() {
            let etag = new.expected_etag.take();
            return Ok(Treatment { work: None, etag });
        }
        new.sysmeta.retain(|(name, _)| name != HOW);
        let copied = matches!(before, Some(Sealed::Cloud { .. })).then_some(Seal::Cloud);
        let seal = new.seal.take().or(copied).or_else(|| default_of(container));
        let no_chance = Unavailable::NoKey("the system gave no random bytes");
        let (sealed, key, shown) = match seal {
            Some(Seal::Client(key)) => {
                let check = Check::of(&key).ok_or(no_chance)?;
                let data = key.derived(DATA, &check.salt);
                (Sealed::Client(check), data, false)
            }
            Some(Seal::Cloud) => self.by_cloud()?,
            None => return Ok(Treatment::default()),
        };
        new.sysmeta.push(sealed.item());
        let work = Work {
            pad: Pad::new(&key),
            shown,
            announced: new.expected_etag.is_some(),
        };
        Ok(Treatment {
            work: Some(work),
            etag: None,
        })
    }

    fn by_cloud(&self) -> Result<(Sealed, Zeroizing<[u8; 32]>, bool), Unavailable> {
        let key = Zeroizing::new(chance().ok_or(Unavailable::NoKey("the system gave no random bytes"))?);
        let wrapped = self.cloud()?.wrap(&key);
        let wrapped = wrapped.ok_or(Unavailable::NoKey("the key of an object cannot be wrapped"))?;
        Ok((Sealed::Cloud { wrapped }, key, true))
    }
}

impl Core {
    /// The same core, which seals and opens with the cloud's keys.
    #[must_use]
    pub fn with_cloud_keys(mut self, keys: Arc<dyn CloudKeys>) -> Self {
        self.opener.cloud = Some(keys);
        self
    }

    /// The same core in the hands of a client that showed its key: it opens what
    /// was sealed with that.
    #[must_use]
    pub fn with_client_key(&self, key: ClientKey) -> Self {
        let mut core = self.clone();
        core.opener.client = Some(key);
        core
    }

    /// The same core, which reads sealed objects as they are stored, and stores
    /// them so again: for copies that nobody looks into.
    #[must_use]
    pub fn as_stored(&self) -> Self {
        let mut core = self.clone();
        core.opener.as_stored = true;
        core
    }

    /// Whether this core can seal with the cloud's keys.
    pub fn has_cloud_keys(&self) -> bool {
        self.opener.cloud.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_knows_its_key_and_comes_back_from_text() {
        let (right, wrong) = (ClientKey::new([1; 32]), ClientKey::new([2; 32]));
        let check = Check::of(&right).unwrap();
        assert!(check.fits(&right) && !check.fits(&wrong));
        assert_ne!(
            check,
            Check::of(&right).unwrap(),
            "two objects show not that they share a key"
        );
        assert_eq!(Check::from_text(&check.to_text()), Some(check.clone()));
        assert!(!check.to_text().contains(&hex::encode([1; 32])));
        for bad in ["", "00", "zz zz", "00 11"] {
            assert_eq!(Check::from_text(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_format_is_what_it_was() {
        // Made by another implementation of HMAC-SHA256 and AES-256-CTR.
        let check = "88a822be35237420bd29414da20b657d415a34dff3588b90e5d1a60af2e41501";
        let (key, salt) = (ClientKey::new([1; 32]), [2; 16]);
        assert_eq!(hex::encode(*key.derived(CHECK, &salt)), check);
        let mut pad = Pad::new(&key.derived(DATA, &salt));
        let sealed = pad.apply(bytes::Bytes::from_static(b"plain bytes"));
        assert_eq!(hex::encode(sealed), "d816bd710271cda2f04866");
        let how = format!("client {} {check}", hex::encode(salt));
        let found = Sealed::found(&[("x-object-sysmeta-sealing".to_owned(), how.clone())]);
        let Some(Sealed::Client(found)) = found else {
            panic!("{found:?}")
        };
        assert!(found.fits(&key));
        assert_eq!(Sealed::Client(found).item().1, how);
    }

    #[test]
    fn what_is_sealed_in_an_unknown_way_is_never_taken_for_plain() {
        let found = |how: &str| Sealed::found(&[(HOW.to_owned(), how.to_owned())]);
        for how in ["", "cloud", "client", "client 00 11", "later v2"] {
            assert_eq!(found(how), Some(Sealed::Unknown), "{how}");
        }
        let sealed = Sealed::Cloud {
            wrapped: "text".into(),
        };
        assert_eq!(found(&sealed.item().1), Some(sealed));
        assert_eq!(Sealed::found(&[]), None);
    }
}
