//! What a run draws as it goes, told by the plan instead.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// The numbers of each domain. A plan that has them leaves nothing to its seed.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Draws {
    /// How long messages take, and which are lost, or arrive twice.
    pub network: Told,
    /// How long syncs take, and what a crash leaves.
    pub disk: Told,
    /// How fast clocks run, and time-outs.
    pub process: Told,
    /// Whom clients ask, for what, and when.
    pub client: Told,
    /// Which nodes are replaced.
    pub operator: Told,
}

/// The numbers of a domain that are not the least possible: which number it is, counted from 0, and
/// by how much it is more. As text: `3=250 17=1`.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Told(pub Vec<(u64, u64)>);

impl Draws {
    /// How many numbers are told.
    #[must_use]
    pub fn len(&self) -> usize {
        let Self { network, disk, process, client, operator } = self;
        [network, disk, process, client, operator].iter().map(|told| told.0.len()).sum()
    }

    /// Whether everything is the least that is possible.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (which, more)) in self.0.iter().enumerate() {
            let space = if i > 0 { " " } else { "" };
            write!(f, "{space}{which}={more}")?;
        }
        Ok(())
    }
}

impl Serialize for Told {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Told {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let pair = |pair: &str| {
            let (which, more) = pair.split_once('=')?;
            Some((which.parse().ok()?, more.parse().ok()?))
        };
        let told = text.split_whitespace().map(|word| {
            pair(word).ok_or_else(|| D::Error::custom(format!("`{word}` is not like `3=250`")))
        });
        Ok(Self(told.collect::<Result<_, _>>()?))
    }
}
