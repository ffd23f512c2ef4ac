//! The simulated disk itself, where others rely on it.

use std::io;

use synod_storage::{Disk as _, File as _, SimDisk};

#[test]
fn space_is_what_was_written_or_set_aside_whichever_is_more() {
    let disk = SimDisk::new();
    let file = disk.create("a").unwrap();
    file.write_at(&[1; 100], 0).unwrap();
    assert_eq!(disk.used(), 100);
    file.allocate(300).unwrap();
    file.write_at(&[1; 200], 50).unwrap();
    assert_eq!((disk.used(), file.len().unwrap()), (300, 250));
    disk.create("b").unwrap().write_at(&[1; 30], 0).unwrap();
    assert_eq!(disk.used(), 330);
    disk.remove("a").unwrap();
    assert_eq!(disk.used(), 30);
}

#[test]
fn a_full_disk_takes_in_what_fits_and_says_that_there_was_more() {
    let full = |result: io::Result<()>| {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
    };
    let disk = SimDisk::new();
    disk.set_space(Some(1000));
    let file = disk.create("a").unwrap();
    file.allocate(600).unwrap();
    full(file.allocate(1001));
    assert_eq!(disk.used(), 600, "nothing is set aside unless all is");
    file.write_at(&[1; 600], 0).unwrap();
    let other = disk.create("b").unwrap();
    full(other.write_at(&[2; 500], 0));
    assert_eq!((other.len().unwrap(), disk.used()), (400, 1000));
    file.allocate(600).unwrap();
    full(file.allocate(601));
    disk.set_space(None);
    file.allocate(601).unwrap();
    assert_eq!(disk.used(), 1001);
}
