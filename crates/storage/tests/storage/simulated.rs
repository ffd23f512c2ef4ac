//! The simulated disk itself, where others rely on it.

use std::io;

use synod_storage::{
    Disk as _, File as _, SimDisk,
    sim::{Failure, Fault, Operation, SECTOR, Trigger, Unsynced},
};

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

#[test]
fn a_sync_that_fails_makes_any_part_durable_and_a_later_one_no_more() {
    let mut seen = [0; 4];
    for seed in 0..64 {
        let disk = SimDisk::new();
        let file = disk.create("a").unwrap();
        disk.sync_dir().unwrap();
        file.write_at(&[1; 2 * SECTOR], 0).unwrap();
        disk.plan(Fault::new(Trigger::nth(Operation::Sync, 1), Failure::Io { seed }));
        file.sync().unwrap_err();
        file.sync().unwrap();
        assert_eq!(disk.files()["a"], [1; 2 * SECTOR], "whoever reads now sees all of it");
        let left = &disk.image(Unsynced::Kept).files()["a"];
        let there = |sector: usize| usize::from(left.get(sector * SECTOR) == Some(&1));
        seen[2 * there(0) + there(1)] += 1;
    }
    assert!(seen.iter().all(|times| *times > 4), "neither, one, the other, both: {seen:?}");
}

#[test]
fn a_disk_hangs_until_it_is_told_otherwise() {
    let disk = SimDisk::new();
    let hung = [true, false].map(|hung| {
        disk.set_hung(hung);
        disk.is_hung()
    });
    assert_eq!(hung, [true, false]);
}
