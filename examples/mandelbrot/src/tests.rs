//! Tests of the picture, natively; that the engines agree is for the end-to-end tests.

use super::Mandelbrot;
use super::colour::log2;
use manyhands_guest_sdk::testing::Harness;

fn render(params: &str) -> Vec<u8> {
    Harness::<Mandelbrot>::new(params).run_all_ways().unwrap()
}

#[test]
fn small_picture_has_the_expected_hash() {
    let picture = render(include_str!("../params.json"));
    assert_eq!(picture.len(), 96 * 64 * 4);
    assert_eq!(
        blake3::hash(&picture).to_hex().as_str(),
        include_str!("../expected.rgba.blake3").trim_end()
    );
}

#[test]
fn the_set_is_black_and_the_picture_symmetric() {
    let picture = render(r#"{"width": 33, "height": 21, "iterations": 200}"#);
    let pixel = |x: usize, y: usize| &picture[4 * (33 * y + x)..][..4];
    assert_eq!(pixel(16, 10), [0, 0, 0, 255]);
    assert_ne!(pixel(0, 0), [0, 0, 0, 255]);
    for y in 0..21 {
        for x in 0..33 {
            assert_eq!(pixel(x, y), pixel(x, 20 - y), "{x} {y}");
        }
    }
}

#[test]
fn finer_samples_keep_the_picture() {
    let mean = |picture: Vec<u8>| {
        picture.iter().map(|byte| f64::from(*byte)).sum::<f64>() / picture.len() as f64
    };
    let coarse = mean(render(r#"{"width": 32, "height": 32, "iterations": 100}"#));
    let fine = mean(render(
        r#"{"width": 32, "height": 32, "iterations": 100, "samples": 3}"#,
    ));
    assert!((coarse - fine).abs() < 6.0, "{coarse} {fine}");
}

#[test]
fn logarithm_is_close_to_that_of_the_machine() {
    for value in [1.0, 1.000_001, 1.5, 1.999_999, 2.0, 3.7, 65_536.0, 1e9] {
        assert!((log2(value) - f64::log2(value)).abs() < 1e-11, "{value}");
    }
}

#[test]
fn opening_tells_the_shape() {
    let opened = Harness::<Mandelbrot>::new(r#"{"width": 8, "height": 4}"#).open();
    assert_eq!(
        opened.unwrap(),
        r#"{"tasks":4,"media_type":"image/x-rgba","width":8,"height":4,"extension":"png","bytes_per_task":32}"#
    );
    let refused = Harness::<Mandelbrot>::new(r#"{"width": 0, "height": 4}"#).open();
    assert!(refused.unwrap_err().to_string().contains("1 to 65536"));
}
