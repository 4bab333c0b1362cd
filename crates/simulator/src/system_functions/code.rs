//! Deployed code, as far as the dashboard shows it.

use super::Call;
use crate::value::Value;

/// `modules:list`: each module's path and what is known of it; this server analyses none, so no functions.
pub(super) fn modules(call: Call<'_>) -> Result<Value, String> {
    call.in_component(|database, path| {
        let modules = database.deployed(path).into_iter().flat_map(|deployed| &deployed.modules);
        let functions = || Value::object([("functions", Value::Array(Vec::new()))]);
        Value::Array(
            modules.map(|module| Value::Array(vec![module.path.clone().into(), functions()])).collect(),
        )
    })
}

/// `getSchemas`: the schema that holds, a JSON text; nothing where there is none.
pub(super) fn schemas(call: Call<'_>) -> Result<Value, String> {
    call.in_component(|database, path| {
        match database.deployed(path).and_then(|deployed| deployed.schema.clone()) {
            Some(schema) => Value::object([("active", schema.into())]),
            None => Value::object([]),
        }
    })
}

/// `listAuthProviders`: those that tokens are accepted from.
#[expect(clippy::unnecessary_wraps, reason = "every function has the same shape")]
pub(super) fn auth_providers(call: Call<'_>) -> Result<Value, String> {
    let rows = call.state.read(|database| {
        let rows = database.auth_providers.iter().map(|(domain, application)| {
            Value::object([("applicationID", application.clone().into()), ("domain", domain.clone().into())])
        });
        rows.collect()
    });
    Ok(Value::Array(rows))
}

/// `getVersion`: the version of the npm package that pushed last; this server was never pushed to.
#[expect(clippy::unnecessary_wraps, reason = "every function has the same shape")]
pub(super) fn pushed_with(_: Call<'_>) -> Result<Value, String> {
    Ok("1.48.0".into())
}
