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
pub(super) mod seconds {
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
pub(super) mod optional_seconds {
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
pub(super) mod time {
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
pub(super) mod optional_time {
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

/// A name as `path`; if it is not UTF-8, its bytes in Base64 as `path_bytes` too.
pub(super) mod path {
    use super::{BASE64, Deserialize, Deserializer, Name, Serialize, Serializer};
    use serde::de::Error as _;

    #[derive(Serialize, Deserialize)]
    struct Path {
        path: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path_bytes: Option<String>,
    }

    pub(crate) fn serialize<S: Serializer>(name: &Name, s: S) -> Result<S::Ok, S::Error> {
        let bytes = name.as_bytes();
        let path_bytes = std::str::from_utf8(bytes).is_err().then(|| BASE64.encode(bytes));
        Path { path: String::from_utf8_lossy(bytes).into_owned(), path_bytes }.serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Name, D::Error> {
        let Path { path, path_bytes } = Path::deserialize(d)?;
        let bytes = match path_bytes {
            Some(text) => BASE64.decode(text.as_bytes()).map_err(D::Error::custom)?,
            None => path.into_bytes(),
        };
        Name::parse(&bytes).map_err(D::Error::custom)
    }
}

/// The text of a peer's name.
pub(super) mod peer_name {
    use super::{Deserialize, Deserializer, PeerName, Serializer};

    pub(crate) fn serialize<S: Serializer>(name: &PeerName, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(name.as_str())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<PeerName, D::Error> {
        Ok(PeerName::new(&String::deserialize(d)?))
    }
}

/// An id in hexadecimal.
pub(super) mod installation {
    use super::{Deserializer, InstallationId, Serializer, hex};

    pub(crate) fn serialize<S: Serializer>(id: &InstallationId, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(id)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<InstallationId, D::Error> {
        hex(d).map(InstallationId)
    }
}

/// The same.
pub(super) mod transfer {
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
