//! What the fuzz targets in `fuzz/` feed with bytes, and what has to hold for any bytes.

pub mod connection;
pub mod route;
#[cfg(test)]
mod tests;
