//! Functions over records.

use crate::prelude::*;
use crate::testing::Harness;

mod whole {
    use crate::prelude::*;

    /// A task's whole input.
    #[map(task)]
    pub(super) fn measure(file: &[u8]) -> usize {
        file.len()
    }
}

mod rows {
    use crate::prelude::*;

    #[derive(Deserialize)]
    pub(super) struct Row {
        name: String,
        age: u32,
    }

    #[derive(Deserialize)]
    pub(super) struct Older {
        than: u32,
    }

    /// Rows of JSON, the parameters, a filter, an error.
    #[map]
    pub(super) fn older(row: Row, params: &Older) -> Result<Option<String>> {
        if row.age > 150 {
            bail!("nobody is {}", row.age);
        }
        Ok((row.age > params.than).then_some(row.name))
    }
}

mod borrowed {
    use crate::prelude::*;

    /// Gives back a part of its record.
    #[map]
    pub(super) fn head(line: &str) -> Option<&str> {
        line.split_whitespace().next()
    }
}

mod raw {
    use crate::prelude::*;

    /// Gives bytes.
    #[map]
    pub(super) fn glue(line: &[u8]) -> Bytes {
        Bytes(line.to_vec())
    }
}

#[map]
pub(super) fn shout(line: &str) -> String {
    line.to_uppercase()
}

fn mapped<J: crate::job::Job>(params: &str, inputs: &[&str]) -> Result<String> {
    let harness = Harness::<J>::new(params).inputs(inputs.iter().copied());
    Ok(String::from_utf8(harness.run_all_ways()?).unwrap())
}

#[test]
fn lines_are_mapped_alike_however_the_input_is_split() {
    let expected = "A B\n\nC\n";
    assert_eq!(mapped::<shout>("{}", &["a b\n\nc"]).unwrap(), expected);
    assert_eq!(
        mapped::<shout>("{}", &["a b\n", "\n", "c"]).unwrap(),
        expected
    );
    assert_eq!(mapped::<shout>("null", &[]).unwrap(), "");
    assert_eq!(
        mapped::<borrowed::head>("{}", &["a b\n\n", "c d\n"]).unwrap(),
        "a\nc\n"
    );
    assert_eq!(
        mapped::<raw::glue>("{}", &["a\nb\n", "c\n"]).unwrap(),
        "abc"
    );
}

#[test]
fn whole_tasks_are_mapped_once_each() {
    assert_eq!(
        mapped::<whole::measure>("{}", &["a\nb\n", "", "ccc"]).unwrap(),
        "4\n0\n3\n"
    );
}

#[test]
fn rows_are_read_from_json() {
    let rows = "{\"name\": \"Ada\", \"age\": 36}\n{\"name\": \"Max\", \"age\": 7}\n";
    assert_eq!(
        mapped::<rows::older>(r#"{"than": 30}"#, &[rows]).unwrap(),
        "Ada\n"
    );
    assert_eq!(
        mapped::<rows::older>(r#"{"than": 3}"#, &[rows]).unwrap(),
        "Ada\nMax\n"
    );
    assert!(
        Harness::<rows::older>::new("{}").open().is_err(),
        "parameters are checked"
    );
}

#[test]
fn errors_name_the_line() {
    let error = |line: &str| {
        let text = format!("{{\"name\": \"Ada\", \"age\": 36}}\n{line}\n");
        mapped::<rows::older>(r#"{"than": 30}"#, &[&text])
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error(r#"{"name": "Eve", "age": 151}"#),
        "line 2: nobody is 151"
    );
    assert!(error("{").starts_with("line 2: EOF while parsing"));
    assert!(error("{\"name\": \"x\", \"age\": 1} 2").starts_with("line 2: trailing characters"));
    let not_text = Harness::<shout>::new("{}")
        .inputs([b"\xff".as_slice()])
        .run_whole();
    assert!(
        not_text
            .unwrap_err()
            .to_string()
            .starts_with("line 1: invalid utf-8")
    );
}
