//! The document against the handlers: every answer that they give is one that it describes.
use std::collections::BTreeSet;

use serde_json::{Value, json};
use streamflow_signer::FenceKind;

use crate::fixture::{FakeWebhook, Reply, Running, Setup, blob, encoded, info, next, request};

async fn document(signer: &Running) -> Value {
    signer.http.get(format!("{}/openapi.json", signer.url)).send().await.unwrap().json().await.unwrap()
}

fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
        None => schema,
    }
}

/// The part of JSON Schema that the document uses.
fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let schema = resolve(document, schema);
    if let Some(any) = schema["anyOf"].as_array() {
        let none = any.iter().all(|schema| fits(document, schema, value).is_err());
        return if none { Err(format!("{value} fits none")) } else { Ok(()) };
    }
    let kind = match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_i64() => "integer",
        Value::Number(_) => "number",
    };
    let types: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().map(|name| name.as_str().unwrap()).collect(),
        _ => return Err(format!("no type: {schema}")),
    };
    let is_number = kind == "integer" && types.contains(&"number");
    if !is_number && !types.contains(&kind) {
        return Err(format!("{value} is not {types:?}"));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Err(format!("{value} is none of {allowed:?}"));
    }
    if let Value::Object(fields) = value {
        for name in schema["required"].as_array().into_iter().flatten() {
            if !fields.contains_key(name.as_str().unwrap()) {
                return Err(format!("{name} is missing in {value}"));
            }
        }
        for (name, field) in fields {
            match schema["properties"].get(name) {
                Some(property) => fits(document, property, field).map_err(|e| format!("{name}: {e}"))?,
                None if schema["additionalProperties"] == false => return Err(format!("{name} is not described")),
                None => {}
            }
        }
    }
    value.as_array().into_iter().flatten().try_for_each(|item| fits(document, &schema["items"], item))
}

fn is_described(document: &Value, path: &str, method: &str, reply: &Reply) {
    let responses = &document["paths"][path][method]["responses"];
    let described = &responses[reply.status.to_string()];
    assert!(described.is_object(), "{path} does not describe {}", reply.status);
    let schema = &described["content"]["application/json"]["schema"];
    fits(document, schema, &reply.body).unwrap_or_else(|error| panic!("{path} {}: {error}", reply.status));
}

#[tokio::test]
async fn every_answer_is_described() {
    let path = "/generate-live-payment";
    let webhook = FakeWebhook::start(json!({ "status": 200 })).await;
    let signer = Setup::default()
        .with(|setup| {
            setup.config.auth.webhook = Some(webhook.url.clone());
            setup.config.fence = FenceKind::Memory;
            setup.config.budget.max_payments_per_minute = 3;
            setup.config.budget.max_spend = alloy_primitives::U256::from(1000);
        })
        .start()
        .await;
    let document = document(&signer).await;
    let request_schema = &document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"];
    let body = request(&info((3, 1), 35), "fixed");
    let mut wanted = body.clone();
    wanted["maxPrice"] = json!({ "price": 3.5, "currency": "wei", "unit": "fixed" });
    let first = signer.pay(&wanted).await;
    let mut pixels = request(&info((3, 1), 35), "");
    pixels["inPixels"] = 900.into();
    let mut enough = body.clone();
    enough["state"] = signer.state(&blob("1000", (3, 1)));
    let mut dear = wanted.clone();
    dear["maxPrice"]["price"] = 2.into();
    let mut stale = info((3, 1), 35);
    stale.auth_token.as_mut().unwrap().expiration = signer.now();
    let mut long = body.clone();
    long["app"] = "x".repeat(2 << 20).into();

    let mut replies = vec![first.clone()];
    for body in [&next(body.clone(), &first), &next(body.clone(), &first), &enough, &dear, &json!({}), &pixels, &long] {
        replies.push(signer.pay(body).await);
    }
    let mut refresh = body.clone();
    refresh["orchestrator"] = encoded(&stale);
    replies.push(signer.pay(&refresh).await);
    replies.push(signer.pay(&body).await);
    replies.push(signer.pay(&body).await);
    webhook.answer(200, json!({ "status": 200, "maxPrice": 1 }));
    replies.push(signer.pay(&body).await);
    webhook.answer(500, json!({}));
    replies.push(signer.pay(&body).await);
    signer.chain.send_replace(None);
    replies.push(signer.pay(&body).await);
    for reply in &replies {
        is_described(&document, path, "post", reply);
    }
    let seen: BTreeSet<u16> = replies.iter().map(|reply| reply.status).collect();
    let expected = [200, 400, 403, 409, 413, 429, 480, 481, 482, 500, 502, 503];
    assert_eq!(seen, BTreeSet::from(expected));
    for body in [&wanted, &enough, &pixels, &next(body, &first)] {
        fits(&document, request_schema, body).unwrap();
    }
}

#[tokio::test]
async fn every_path_is_served_and_no_other() {
    let signer = Setup::default().with(|setup| setup.config.discovery.enabled = true).start().await;
    let document = document(&signer).await;
    assert_eq!(document["openapi"], "3.1.0");
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let name = reqwest::Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let reply = signer.http.request(name, format!("{}{path}", signer.url)).send().await.unwrap();
            assert!(![404, 405].contains(&reply.status().as_u16()), "{method} {path}");
            is_described(&document, path, method, &Reply::read(reply).await);
        }
        let reply = signer.http.delete(format!("{}{path}", signer.url)).send().await.unwrap();
        assert_eq!(Reply::read(reply).await.refused(), (405, "method not allowed"));
    }
    let reply = signer.http.get(format!("{}/other", signer.url)).send().await.unwrap();
    assert_eq!(Reply::read(reply).await.refused(), (404, "not found"));
}
