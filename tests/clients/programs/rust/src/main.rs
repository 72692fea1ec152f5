// tokio-postgres: everything is prepared, requests are pipelined, portals and COPY as streams.

use futures_util::{future::join_all, pin_mut, SinkExt, StreamExt, TryStreamExt};
use std::{env, future::Future, time::Duration};
use tokio_postgres::{error::SqlState, Client, Error, NoTls};

type Outcome = Result<(), String>;
const ROWS: i64 = 100_000;
const LARGE: i32 = 20 * 1024 * 1024;

fn service() -> String {
    env::var("PGDATABASE").unwrap()
}

async fn connect() -> Result<Client, String> {
    let value = |name| env::var(name).unwrap();
    let text = format!("host={} port={} user={} dbname={}",
        value("PGHOST"), value("PGPORT"), value("PGUSER"), service());
    let (client, connection) = tokio_postgres::connect(&text, NoTls).await.map_err(told)?;
    tokio::spawn(connection);
    Ok(client)
}

fn told(error: Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} {}", db.code().code(), db.message()),
        None => error.to_string(),
    }
}

fn equal<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Outcome {
    if found == expected { Ok(()) } else { Err(format!("{found:.200?} in place of {expected:.200?}")) }
}

fn fails_with<T>(state: &SqlState, result: Result<T, Error>) -> Outcome {
    match result {
        Ok(_) => Err(format!("no error {}", state.code())),
        Err(error) => equal(error.code(), Some(state)),
    }
}

async fn basics() -> Outcome {
    let client = connect().await?;
    let row = client.query_one("SELECT service, $1::int4 + 1, $2::text FROM who", &[&6, &"zwölf"])
        .await.map_err(told)?;
    equal((row.get(0), row.get(1), row.get(2)), (service(), 7, "zwölf".to_string()))
}

async fn prepared() -> Outcome {
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(connect().await?);
    }
    for round in 0..5 {
        for client in &clients {
            let statement = client.prepare("SELECT service, $1::int4 FROM who").await.map_err(told)?;
            for n in 0..5 {
                let row = client.query_one(&statement, &[&(n + round)]).await.map_err(told)?;
                equal((row.get(0), row.get(1)), (service(), n + round))?;
            }
        }
    }
    Ok(())
}

async fn pipeline() -> Outcome {
    let client = connect().await?;
    let statement = client.prepare("SELECT 1000 / $1::int4").await.map_err(told)?;
    for _ in 0..5 {
        let all = (0..100).map(|n| {
            let (client, statement) = (&client, &statement);
            async move { client.query_one(statement, &[&(n % 10)]).await }
        });
        for (n, found) in join_all(all).await.into_iter().enumerate() {
            match n % 10 {
                0 => fails_with(&SqlState::DIVISION_BY_ZERO, found)?,
                by => equal(found.map_err(told)?.get(0), 1000 / by as i32)?,
            }
        }
    }
    Ok(())
}

async fn count(client: &Client) -> Result<i64, String> {
    Ok(client.query_one("SELECT count(*) FROM t_rust", &[]).await.map_err(told)?.get(0))
}

async fn transaction() -> Outcome {
    let mut client = connect().await?;
    client.batch_execute("DROP TABLE IF EXISTS t_rust; \
        CREATE TABLE t_rust (id int PRIMARY KEY, body text)").await.map_err(told)?;
    for id in [1, 2] {
        let inside = client.transaction().await.map_err(told)?;
        inside.execute("INSERT INTO t_rust VALUES ($1, $2)", &[&id, &"body"]).await.map_err(told)?;
        if id == 1 { inside.commit().await } else { inside.rollback().await }.map_err(told)?;
        equal(count(&client).await?, 1)?;
    }
    Ok(())
}

async fn error_inside() -> Outcome {
    let mut client = connect().await?;
    let inside = client.transaction().await.map_err(told)?;
    inside.execute("INSERT INTO t_rust VALUES (3, 'three')", &[]).await.map_err(told)?;
    fails_with(&SqlState::DIVISION_BY_ZERO, inside.query_one("SELECT 1 / $1::int4", &[&0]).await)?;
    fails_with(&SqlState::IN_FAILED_SQL_TRANSACTION, inside.query("SELECT 1", &[]).await)?;
    inside.rollback().await.map_err(told)?;
    equal(count(&client).await?, 1)
}

async fn portals() -> Outcome {
    let mut client = connect().await?;
    let inside = client.transaction().await.map_err(told)?;
    let portal = inside.bind("SELECT n FROM generate_series(1, 25) n", &[]).await.map_err(told)?;
    let mut seen = 0;
    for expected in [10, 10, 5, 0] {
        let rows = inside.query_portal(&portal, 10).await.map_err(told)?;
        equal(rows.len(), expected)?;
        seen += rows.len();
    }
    equal(seen, 25)?;
    inside.commit().await.map_err(told)
}

async fn sqlstates() -> Outcome {
    let client = connect().await?;
    for (text, state) in [
        ("SELECT * FROM nowhere", SqlState::UNDEFINED_TABLE),
        ("SELECT nothing", SqlState::UNDEFINED_COLUMN),
        ("SELEC", SqlState::SYNTAX_ERROR),
        ("INSERT INTO t_rust VALUES (1)", SqlState::UNIQUE_VIOLATION),
        ("SELECT 'x'::int", SqlState::INVALID_TEXT_REPRESENTATION),
    ] {
        fails_with(&state, client.query(text, &[]).await)?;
        fails_with(&state, client.simple_query(text).await)?;
    }
    Ok(())
}

async fn copy() -> Outcome {
    let client = connect().await?;
    let sink = client.copy_in("COPY t_rust FROM STDIN").await.map_err(told)?;
    pin_mut!(sink);
    for n in 10..5010 {
        sink.feed(std::io::Cursor::new(format!("{n}\trow\n").into_bytes())).await.map_err(told)?;
    }
    equal(sink.finish().await.map_err(told)?, 5000)?;
    let out = client.copy_out("COPY (SELECT id FROM t_rust WHERE id >= 10) TO STDOUT")
        .await.map_err(told)?;
    let all: Vec<_> = out.try_collect().await.map_err(told)?;
    equal(all.len(), 5000)
}

async fn cancel() -> Outcome {
    let client = connect().await?;
    for _ in 0..10 {
        let token = client.cancel_token();
        let sleeping = client.query("SELECT pg_sleep(60)", &[]);
        pin_mut!(sleeping);
        let ended = loop {
            tokio::select! {
                ended = &mut sleeping => break ended,
                _ = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
            token.cancel_query(NoTls).await.map_err(told)?;
        };
        fails_with(&SqlState::QUERY_CANCELED, ended)?;
        basics().await?;
    }
    equal(client.query_one("SELECT 7", &[]).await.map_err(told)?.get(0), 7)
}

async fn large_result() -> Outcome {
    let client = connect().await?;
    let rows = client.query_raw("SELECT n FROM generate_series(1, $1::int8) n", [ROWS])
        .await.map_err(told)?;
    pin_mut!(rows);
    let mut sum = 0;
    while let Some(row) = rows.next().await {
        sum += row.map_err(told)?.get::<_, i64>(0);
    }
    equal(sum, ROWS * (ROWS + 1) / 2)
}

async fn large_value() -> Outcome {
    let client = connect().await?;
    let row = client.query_one("SELECT repeat('x', $1::int4)", &[&LARGE]).await.map_err(told)?;
    let text: String = row.get(0);
    equal(text.len(), LARGE as usize)?;
    equal(client.query_one("SELECT length($1)", &[&text]).await.map_err(told)?.get(0), LARGE)
}

async fn reconnect() -> Outcome {
    for n in 0..10 {
        let client = connect().await?;
        equal(client.query_one("SELECT $1::int4", &[&n]).await.map_err(told)?.get(0), n)?;
    }
    Ok(())
}

async fn report(name: &str, check: impl Future<Output = Outcome>) -> bool {
    match check.await {
        Ok(()) => println!("ok {name}"),
        Err(ref why) => {
            println!("FAIL {name}: {}", why.replace('\n', " "));
            return false;
        }
    }
    true
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut good = report("basics", basics()).await;
    good &= report("prepared", prepared()).await;
    good &= report("pipeline", pipeline()).await;
    good &= report("transaction", transaction()).await;
    good &= report("error_inside", error_inside()).await;
    good &= report("portals", portals()).await;
    good &= report("sqlstates", sqlstates()).await;
    good &= report("copy", copy()).await;
    good &= report("cancel", cancel()).await;
    good &= report("large_result", large_result()).await;
    good &= report("large_value", large_value()).await;
    good &= report("reconnect", reconnect()).await;
    std::process::exit(if good { 0 } else { 1 });
}
