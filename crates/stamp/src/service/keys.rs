//! Keys that change while packets are under way.

use stamp_proto::reflector::Keys;

use super::{Reflecting, Sending};
use crate::error::Error;
use crate::kernel::Kernel;
use crate::keys::{self, KeyFile};

/// Where the keys of a role are.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyFiles {
    pub(crate) current: Vec<KeyFile>,
    pub(crate) previous: Vec<KeyFile>,
}

impl KeyFiles {
    fn read(&self) -> Result<Keys, Error> {
        Ok(keys::read(&self.current, &self.previous)?)
    }
}

impl Reflecting {
    /// Reads its keys again; tells whether they are others.
    pub(super) fn read_keys(&mut self, kernel: Option<&mut Kernel>) -> Result<bool, Error> {
        let keys = self.key_files.read()?;
        if keys == self.reflector.policy().keys {
            return Ok(false);
        }
        if let Some(kernel) = kernel {
            kernel.set_keys(&keys)?;
        }
        self.reflector.set_keys(keys);
        Ok(true)
    }
}

impl Sending {
    /// Reads its keys again; tells whether any session has another one.
    pub(super) fn read_keys(&mut self, mut kernel: Option<&mut Kernel>) -> Result<bool, Error> {
        let keys = self.key_files.read()?;
        let mut has_changed = false;
        for target in &mut self.targets {
            let settings = target.sender.settings();
            let (Some(old), Some(new)) = (settings.keys, keys.of(settings.ssid)) else { continue };
            if old == new {
                continue;
            }
            if let Some(kernel) = &mut kernel {
                kernel.change_key(&old, &new)?;
            }
            target.sender.set_keys(new);
            has_changed = true;
        }
        Ok(has_changed)
    }
}
