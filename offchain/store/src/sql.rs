//! One SQL text for both engines: placeholders `$1`, values of three kinds, rows read by name.

use sqlx::{
    Encode, Pool, Postgres, SqlSafeStr, SqlStr, Sqlite, Type, postgres::PgRow, query::Query as EngineQuery,
    sqlite::SqliteRow,
};

use crate::{StoreError, postgres};

/// What a placeholder stands for.
#[derive(Debug)]
pub(crate) enum Value {
    Number(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

/// A statement and its values.
#[derive(Debug)]
pub(crate) struct Query {
    sql: SqlStr,
    values: Vec<Value>,
}

/// A row of either engine.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// A transaction of either engine. Rolled back when dropped.
#[derive(Debug)]
pub(crate) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

/// Where a statement runs: in a transaction, or by itself on any connection.
#[derive(Debug)]
pub(crate) enum Link<'c> {
    Sqlite(&'c mut sqlx::SqliteConnection),
    SqlitePool(&'c Pool<Sqlite>),
    Postgres(&'c mut sqlx::PgConnection),
    PostgresPool(&'c Pool<Postgres>),
}

impl Transaction {
    /// Returns when the changes are on the disk.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(tx) => Ok(tx.commit().await?),
            Self::Postgres(tx) => postgres::answered(tx.commit()).await,
        }
    }
}

impl<'c> From<&'c mut Transaction> for Link<'c> {
    fn from(tx: &'c mut Transaction) -> Self {
        match tx {
            Transaction::Sqlite(tx) => Self::Sqlite(tx),
            Transaction::Postgres(tx) => Self::Postgres(tx),
        }
    }
}

/// A statement: `$1` is the first value bound, and may be used more than once.
pub(crate) fn query(sql: impl SqlSafeStr) -> Query {
    Query { sql: sql.into_sql_str(), values: Vec::new() }
}

impl Query {
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Returns the number of rows changed.
    pub(crate) async fn execute(self, on: impl Into<Link<'_>>) -> Result<u64, StoreError> {
        match on.into() {
            Link::Sqlite(connection) => Ok(self.bound::<Sqlite>().execute(connection).await?.rows_affected()),
            Link::SqlitePool(pool) => Ok(self.bound::<Sqlite>().execute(pool).await?.rows_affected()),
            Link::Postgres(connection) => {
                Ok(postgres::answered(self.bound::<Postgres>().execute(connection)).await?.rows_affected())
            }
            Link::PostgresPool(pool) => {
                Ok(postgres::answered(self.bound::<Postgres>().execute(pool)).await?.rows_affected())
            }
        }
    }

    pub(crate) async fn fetch_all(self, on: impl Into<Link<'_>>) -> Result<Vec<Row>, StoreError> {
        let (sqlite, postgres) = match on.into() {
            Link::Sqlite(connection) => (self.bound::<Sqlite>().fetch_all(connection).await?, Vec::new()),
            Link::SqlitePool(pool) => (self.bound::<Sqlite>().fetch_all(pool).await?, Vec::new()),
            Link::Postgres(connection) => {
                (Vec::new(), postgres::answered(self.bound::<Postgres>().fetch_all(connection)).await?)
            }
            Link::PostgresPool(pool) => {
                (Vec::new(), postgres::answered(self.bound::<Postgres>().fetch_all(pool)).await?)
            }
        };
        Ok(sqlite.into_iter().map(Row::Sqlite).chain(postgres.into_iter().map(Row::Postgres)).collect())
    }

    /// The first row, if there is one.
    pub(crate) async fn fetch_optional(self, on: impl Into<Link<'_>>) -> Result<Option<Row>, StoreError> {
        Ok(match on.into() {
            Link::Sqlite(connection) => self.bound::<Sqlite>().fetch_optional(connection).await?.map(Row::Sqlite),
            Link::SqlitePool(pool) => self.bound::<Sqlite>().fetch_optional(pool).await?.map(Row::Sqlite),
            Link::Postgres(connection) => {
                postgres::answered(self.bound::<Postgres>().fetch_optional(connection)).await?.map(Row::Postgres)
            }
            Link::PostgresPool(pool) => {
                postgres::answered(self.bound::<Postgres>().fetch_optional(pool)).await?.map(Row::Postgres)
            }
        })
    }

    /// The only row of a question that always has one.
    pub(crate) async fn fetch_one(self, on: impl Into<Link<'_>>) -> Result<Row, StoreError> {
        self.fetch_optional(on).await?.ok_or(StoreError::Database(sqlx::Error::RowNotFound))
    }

    /// The statement as the driver of one engine takes it.
    fn bound<DB: sqlx::Database>(self) -> EngineQuery<'static, DB, DB::Arguments>
    where
        Option<i64>: for<'q> Encode<'q, DB> + Type<DB>,
        Option<String>: for<'q> Encode<'q, DB> + Type<DB>,
        Option<Vec<u8>>: for<'q> Encode<'q, DB> + Type<DB>,
    {
        self.values.into_iter().fold(sqlx::query(self.sql), |query, value| match value {
            Value::Number(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
            Value::Bytes(bytes) => query.bind(bytes),
        })
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(Some(number.into()))
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Self {
        Self::Number(Some(is.into()))
    }
}

impl From<Option<&str>> for Value {
    /// Postgres keeps no NUL in a text, and the reason of a revert is whatever a contract says.
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(|text| text.replace('\0', "\u{fffd}")))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Some(text).into()
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Some(text.as_str()).into()
    }
}

impl From<Option<&String>> for Value {
    fn from(text: Option<&String>) -> Self {
        text.map(String::as_str).into()
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(Some(bytes))
    }
}

impl From<Option<Vec<u8>>> for Value {
    fn from(bytes: Option<Vec<u8>>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(Some(bytes.to_vec()))
    }
}
