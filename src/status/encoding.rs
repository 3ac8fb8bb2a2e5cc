//! How the values of a [`super::Status`] are written in JSON (`docs/control.md`).

use crate::config::PeerName;
use crate::proto::message::{InstallationId, TransferId};
use crate::proto::name::Name;
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::{Duration, SystemTime};

/// A duration as seconds with six decimals.
pub(crate) mod seconds {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    pub(crate) fn serialize<S: Serializer>(time: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64((time.as_secs_f64() * 1e6).round() / 1e6)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(d)?;
        Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)
    }
}

/// The same, or `null`.
pub(crate) mod optional_seconds {
    use super::{Deserialize, Deserializer, Duration, Serialize, Serializer, seconds};

    #[derive(Serialize, Deserialize)]
    struct Seconds(#[serde(with = "seconds")] Duration);

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(Seconds).serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Seconds>::deserialize(d)?.map(|Seconds(time)| time))
    }
}

/// A time as RFC 3339, in UTC, with milliseconds.
pub(crate) mod time {
    use super::{Deserialize, Deserializer, Serializer, SystemTime, Timestamp};

    pub(crate) fn serialize<S: Serializer>(time: &SystemTime, s: S) -> Result<S::Ok, S::Error> {
        // jiff knows the years -9999 to 9999; a clock outside of them is shown as 1970.
        let time = Timestamp::try_from(*time).unwrap_or_default();
        s.collect_str(&format_args!("{time:.3}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(d)?;
        let time = text.parse::<Timestamp>().map_err(serde::de::Error::custom)?;
        SystemTime::try_from(time).map_err(serde::de::Error::custom)
    }
}

/// The same, or `null`.
pub(crate) mod optional_time {
    use super::{Deserialize, Deserializer, Serialize, Serializer, SystemTime, time};

    #[derive(Serialize, Deserialize)]
    struct Time(#[serde(with = "time")] SystemTime);

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<SystemTime>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(Time).serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        Ok(Option::<Time>::deserialize(d)?.map(|Time(time)| time))
    }
}

/// A time as RFC 3339, in UTC, with all its digits; or `null`.
pub(crate) mod optional_exact_time {
    use super::{Deserializer, Serialize, Serializer, SystemTime, Timestamp, optional_time};

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<SystemTime>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        let exact = |time: SystemTime| Timestamp::try_from(time).unwrap_or_default().to_string();
        time.map(exact).serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        optional_time::deserialize(d)
    }
}

/// A name as `path`; if it is not UTF-8, its bytes in Base64 as `path_bytes` too.
pub(crate) mod path {
    use super::{BASE64, Deserialize, Deserializer, Name, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Path {
        path: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path_bytes: Option<String>,
    }

    pub(crate) fn serialize<S: Serializer>(name: &Name, s: S) -> Result<S::Ok, S::Error> {
        let (path, path_bytes) = text_and_bytes(name);
        Path { path, path_bytes }.serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Name, D::Error> {
        let Path { path, path_bytes } = Path::deserialize(d)?;
        parse(path, path_bytes)
    }

    /// The text, and the bytes in Base64 if it is not UTF-8.
    pub(super) fn text_and_bytes(name: &Name) -> (String, Option<String>) {
        let bytes = name.as_bytes();
        let encoded = std::str::from_utf8(bytes).is_err().then(|| BASE64.encode(bytes));
        (String::from_utf8_lossy(bytes).into_owned(), encoded)
    }

    /// The name of such a pair.
    pub(super) fn parse<E: serde::de::Error>(
        text: String,
        encoded: Option<String>,
    ) -> Result<Name, E> {
        let bytes = match encoded {
            Some(text) => BASE64.decode(text.as_bytes()).map_err(E::custom)?,
            None => text.into_bytes(),
        };
        Name::parse(&bytes).map_err(E::custom)
    }
}

/// An object as of [`path`], or `null`.
pub(crate) mod optional_name {
    use super::{Deserialize, Deserializer, Name, Serialize, Serializer, path};

    #[derive(Serialize, Deserialize)]
    struct Named(#[serde(with = "path")] Name);

    pub(crate) fn serialize<S: Serializer>(name: &Option<Name>, s: S) -> Result<S::Ok, S::Error> {
        name.clone().map(Named).serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Name>, D::Error> {
        Ok(Option::<Named>::deserialize(d)?.map(|Named(name)| name))
    }
}

/// The name of a received file in Incoming, or none, in the same way as `saved_as`.
pub(crate) mod saved_as {
    use super::{Deserialize, Deserializer, Name, Serialize, Serializer, path};

    #[derive(Default, Serialize, Deserialize)]
    struct SavedAs {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        saved_as: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        saved_as_bytes: Option<String>,
    }

    pub(crate) fn serialize<S: Serializer>(name: &Option<Name>, s: S) -> Result<S::Ok, S::Error> {
        let saved_as = name.as_ref().map(|name| {
            let (text, bytes) = path::text_and_bytes(name);
            SavedAs { saved_as: Some(text), saved_as_bytes: bytes }
        });
        saved_as.unwrap_or_default().serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Name>, D::Error> {
        let SavedAs { saved_as, saved_as_bytes } = SavedAs::deserialize(d)?;
        saved_as.map(|text| path::parse(text, saved_as_bytes)).transpose()
    }
}

/// A hash in hexadecimal, or `null`.
pub(crate) mod optional_hash {
    use super::{Deserialize, Deserializer, HEXLOWER_PERMISSIVE, Serialize, Serializer};
    use serde::de::Error as _;

    pub(crate) fn serialize<S: Serializer>(
        hash: &Option<[u8; 32]>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        hash.map(|hash| HEXLOWER_PERMISSIVE.encode(&hash)).serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<[u8; 32]>, D::Error> {
        let Some(text) = Option::<String>::deserialize(d)? else { return Ok(None) };
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(D::Error::custom)?;
        let hash = bytes.try_into().map_err(|_| D::Error::custom("a hash has 32 bytes"))?;
        Ok(Some(hash))
    }
}

/// The text of a peer's name.
pub(crate) mod peer_name {
    use super::{Deserialize, Deserializer, PeerName, Serializer};

    pub(crate) fn serialize<S: Serializer>(name: &PeerName, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(name.as_str())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<PeerName, D::Error> {
        Ok(PeerName::new(&String::deserialize(d)?))
    }
}

/// An id in hexadecimal.
pub(crate) mod installation {
    use super::{Deserializer, InstallationId, Serializer, hex};

    pub(crate) fn serialize<S: Serializer>(id: &InstallationId, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(id)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<InstallationId, D::Error> {
        hex(d).map(InstallationId)
    }
}

/// The same, or `null`.
pub(crate) mod optional_installation {
    use super::{Deserialize, Deserializer, InstallationId, Serialize, Serializer, installation};

    #[derive(Serialize, Deserialize)]
    struct Id(#[serde(with = "installation")] InstallationId);

    pub(crate) fn serialize<S: Serializer>(
        id: &Option<InstallationId>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        id.map(Id).serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<InstallationId>, D::Error> {
        Ok(Option::<Id>::deserialize(d)?.map(|Id(id)| id))
    }
}

/// An id in hexadecimal.
pub(crate) mod transfer {
    use super::{Deserializer, Serializer, TransferId, hex};

    pub(crate) fn serialize<S: Serializer>(id: &TransferId, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(id)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<TransferId, D::Error> {
        hex(d).map(TransferId)
    }
}

fn hex<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 16], D::Error> {
    let text = String::deserialize(d)?;
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(D::Error::custom)?;
    bytes.try_into().map_err(|_| D::Error::custom("an id has 16 bytes"))
}

#[cfg(test)]
mod tests;
