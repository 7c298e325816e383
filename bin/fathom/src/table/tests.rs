use super::{Align, Table, end};

fn written(rows: &[[&str; 2]]) -> String {
    let mut table = Table::new([("NAME", Align::Left), ("BYTES", Align::Right)]);
    for row in rows {
        table.row(row.map(str::to_owned));
    }
    let mut out = Vec::new();
    table.write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn columns_are_as_wide_as_their_widest_cell() {
    assert_eq!(
        written(&[["a", "1"], ["a-long-name", "1234567"]]),
        "NAME           BYTES\na                  1\na-long-name  1234567\n"
    );
}

#[test]
fn a_table_without_rows_is_its_head() {
    assert_eq!(written(&[]), "NAME  BYTES\n");
}

#[test]
fn a_name_cannot_steer_the_terminal() {
    let table = written(&[["\x1b[2Jpod\nx", "1"]]);
    assert!(!table.contains('\x1b') && table.lines().count() == 2, "{table:?}");
}

#[test]
fn an_end_without_a_port_is_its_address() {
    assert_eq!(end("10.0.0.1".parse().unwrap(), None), "10.0.0.1");
    assert_eq!(end("fd00::1".parse().unwrap(), Some(53)), "[fd00::1]:53");
}
