//! What a test does to a simulated disk, and sees of it, without being a process that uses it.

use std::collections::BTreeMap;

use super::{
    SECTOR,
    state::{Node, Pending, State, place},
};

impl State {
    pub(super) fn unsynced(&self) -> Vec<usize> {
        let len = |done: &Pending| match done {
            Pending::Write { bytes, .. } => bytes.len(),
            Pending::Names(_) => 0,
        };
        self.pending.iter().map(len).collect()
    }

    pub(super) fn used(&self) -> u64 {
        self.names.values().filter_map(|inode| self.nodes.get(inode)).map(Node::used).sum()
    }

    fn named(&mut self, name: &str) -> Option<&mut Node> {
        self.nodes.get_mut(self.names.get(name)?)
    }

    pub(super) fn flip_bit(&mut self, name: &str, offset: u64, bit: u32) -> bool {
        let Some(node) = self.named(name) else { return false };
        let at = place(offset);
        let mut flipped = false;
        for bytes in [&mut node.live, &mut node.durable] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (bit % 8);
                flipped = true;
            }
        }
        flipped
    }

    pub(super) fn versions(&self, name: &str, sector: u64) -> usize {
        let node = self.names.get(name).and_then(|inode| self.nodes.get(inode));
        node.and_then(|node| node.past.get(&sector)).map_or(0, Vec::len)
    }

    pub(super) fn restore_sector(&mut self, name: &str, sector: u64, back: usize) -> bool {
        let Some(node) = self.named(name) else { return false };
        let past = node.past.get(&sector).map_or(&[][..], Vec::as_slice);
        let Some(old) = past.len().checked_sub(back).and_then(|at| past.get(at)).cloned() else {
            return false;
        };
        for bytes in [&mut node.live, &mut node.durable] {
            let from = place(sector).saturating_mul(SECTOR).min(bytes.len());
            let to = (from + SECTOR).min(bytes.len());
            bytes[from..to].copy_from_slice(&old[..to - from]);
        }
        true
    }

    pub(super) fn read(&self, name: &str) -> Option<Vec<u8>> {
        let node = self.nodes.get(self.names.get(name)?)?;
        Some(node.live.clone())
    }

    pub(super) fn write_durably(&mut self, name: &str, bytes: Vec<u8>) {
        self.next_inode += 1;
        let inode = self.next_inode;
        let node = Node { live: bytes.clone(), durable: bytes, ..Node::default() };
        self.nodes.insert(inode, node);
        self.names.insert(name.to_owned(), inode);
        self.durable_names.insert(name.to_owned(), inode);
    }

    pub(super) fn lose(&mut self, name: &str) -> bool {
        self.durable_names.remove(name);
        self.names.remove(name).is_some()
    }

    pub(super) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let bytes = |inode: &u64| self.nodes.get(inode).map(|node| node.live.clone());
        let file = |(name, inode): (&String, &u64)| Some((name.clone(), bytes(inode)?));
        self.names.iter().filter_map(file).collect()
    }
}
