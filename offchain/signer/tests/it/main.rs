#![allow(clippy::unwrap_used, missing_docs)]

mod attacks;
mod auth;
mod discovery;
mod fixture;
mod hour;
mod logs;
mod openapi;
mod rows;
mod worked_values;
