//! What the part of a key before its `|` says. It is not secret.

use convault_core::Secret;

/// What a key says it is for (protocol §1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyName {
    /// `prod:happy-animal-123|…`, also `dev:`, `preview:`, `custom:`: a cloud deployment of this name.
    Cloud(String),
    /// `convex-self-hosted|…`: an instance of this name, self-hosted.
    SelfHosted(String),
    /// `project:team:project|…` or `preview:team:project|…`: a project, not one deployment.
    Project,
    /// Without a name, as old self-hosted servers made them.
    Unnamed,
}

impl KeyName {
    /// The deployment's or instance's name, where the key has one.
    pub fn instance(&self) -> Option<&str> {
        match self {
            Self::Cloud(name) | Self::SelfHosted(name) => Some(name),
            Self::Project | Self::Unnamed => None,
        }
    }
}

/// Reads what `key` is for. Whether it is valid only the server knows.
pub fn key_name(key: &Secret) -> KeyName {
    let Some((name, _secret)) = key.expose().trim().split_once('|') else { return KeyName::Unnamed };
    match name.split(':').collect::<Vec<_>>().as_slice() {
        ["project", ..] | [_, _, _, ..] => KeyName::Project,
        [_kind, deployment] => KeyName::Cloud((*deployment).to_owned()),
        _ => KeyName::SelfHosted(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use convault_core::Secret;

    use super::{KeyName, key_name};

    #[test]
    fn every_kind_of_key_is_told_apart() {
        for (key, name) in [
            ("prod:happy-animal-123|ey=", KeyName::Cloud("happy-animal-123".to_owned())),
            ("convex-self-hosted|01f00d\n", KeyName::SelfHosted("convex-self-hosted".to_owned())),
            ("preview:team:project|ey=", KeyName::Project),
            ("project:team:project|ey=", KeyName::Project),
            ("01f00ddeadbeef", KeyName::Unnamed),
        ] {
            assert_eq!(key_name(&Secret::new(key)), name);
        }
    }
}
