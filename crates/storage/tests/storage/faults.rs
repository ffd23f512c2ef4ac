//! Disks that fail, lie or are full, and directories that are not what they should be.
