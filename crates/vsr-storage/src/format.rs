//! What a store is told once, when it is formatted, and tells at every start.

use vsr_core::{
    ClusterId, Config, Configuration, ConfigurationError, Constants, ReplicaId, StoreId,
};

use crate::error::FormatError;
use crate::superblock::ADDRESS_BYTES_MAX;

/// Who a replica is, in which group, under which constants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// The cluster.
    pub cluster: ClusterId,
    /// This replica.
    pub replica: ReplicaId,
    /// The store's own name, drawn for it alone.
    pub store: StoreId,
    /// The group, with its quorums.
    pub configuration: Configuration,
    /// What all replicas of the cluster agree on.
    pub constants: Constants,
    /// Where each member is found, one address a member, of at most
    /// [`ADDRESS_BYTES_MAX`](crate::ADDRESS_BYTES_MAX) bytes.
    pub addresses: Vec<(ReplicaId, String)>,
}

impl Format {
    /// What the protocol core is told.
    ///
    /// # Errors
    /// Where this replica is not a member, or a constant is out of range. Never for a format that came
    /// from an opened store.
    pub fn config(&self) -> Result<Config, ConfigurationError> {
        Config::new(self.cluster, self.replica, self.configuration.clone(), self.constants)
    }

    /// The address of a member.
    #[must_use]
    pub fn address(&self, replica: ReplicaId) -> Option<&str> {
        let found = self.addresses.iter().find(|(id, _)| *id == replica);
        found.map(|(_, address)| address.as_str())
    }

    /// Whether this can be written and read back unchanged.
    pub(crate) fn check(&self) -> Result<(), FormatError> {
        self.config()?;
        let members = self.configuration.members();
        let matching = members.len() == self.addresses.len()
            && members.iter().zip(&self.addresses).all(|(member, (id, _))| member.id == *id);
        if !matching {
            return Err(FormatError::AddressesDoNotMatch);
        }
        for (_, address) in &self.addresses {
            if address.len() > ADDRESS_BYTES_MAX {
                return Err(FormatError::AddressTooLong { address: address.clone() });
            }
        }
        Ok(())
    }
}
