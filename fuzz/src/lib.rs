//! What the fuzz targets feed with bytes, and what has to hold for any bytes.

pub mod connection;
pub mod names;
pub mod record;
pub mod route;
