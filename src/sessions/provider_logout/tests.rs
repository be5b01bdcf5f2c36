use super::*;

#[test]
fn the_newest_sids_are_kept_each_once() {
    let mut sids = Vec::new();
    for sid in ["a", "b", "a"] {
        add_sid(&mut sids, sid);
    }
    assert_eq!(sids, ["b", "a"]);
    for number in 0..MOST_SIDS {
        add_sid(&mut sids, &number.to_string());
    }
    assert_eq!(sids.len(), MOST_SIDS);
    assert_eq!((sids[0].as_str(), sids.last().unwrap()), ("0", &(MOST_SIDS - 1).to_string()));
}
