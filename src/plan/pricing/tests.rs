//! The shipped book, users' files and users' mistakes.

use super::*;
use crate::profile::hardware_book::HardwareBook;

#[test]
fn the_shipped_book_loads() {
    let hw = HardwareBook::shipped().unwrap();
    let t = std::time::Instant::now();
    let book = PriceBook::shipped(&hw).unwrap();
    eprintln!("{} offers {:?}", book.all().len(), t.elapsed());
    let t = std::time::Instant::now();
    let h = book.hash();
    eprintln!("{h} {:?}", t.elapsed());
    for c in check(&book, &hw, jiff::civil::date(2026, 11, 21)) {
        eprintln!("{c}");
    }
}
