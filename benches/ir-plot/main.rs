//! `ir-plot DIR`: draws the pictures of the documentation, from made-up series with a seed and the default configuration.

mod leak;
mod series;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use plotters::coord::Shift;
use plotters::prelude::{DrawingArea, IntoDrawingArea as _, SVGBackend, WHITE};
use plotters::style::Color as _;

type Result<T> = std::result::Result<T, Box<dyn Error>>;
/// Where a picture is drawn.
type Sheet<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A picture: the name of its file, its height, and what draws it.
type Picture = (&'static str, u32, fn(&Sheet<'_>) -> Result<()>);

const PICTURES: &[Picture] = &[("series.svg", 620, series::draw), ("leak.svg", 560, leak::draw)];
const WIDTH: u32 = 960;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: ir-plot DIR");
        return ExitCode::from(2);
    };
    match draw_all(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("ir-plot: {why}");
            ExitCode::FAILURE
        }
    }
}

fn draw_all(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for (name, height, draw) in PICTURES {
        let path = folder.join(name);
        let sheet = SVGBackend::new(&path, (WIDTH, *height)).into_drawing_area();
        sheet.fill(&WHITE.to_rgba())?;
        draw(&sheet)?;
        sheet.present()?;
        println!("{}", path.display());
    }
    Ok(())
}
