//! What holds for the whole document, and is said when all of it is there.

use std::collections::BTreeSet;
use utoipa::openapi::schema::{ArrayItems, Object, OneOf, Schema, SchemaType, Type};
use utoipa::openapi::{OpenApi as Document, Ref, RefOr, Response};

/// The path before the name of a schema in a reference.
const SCHEMAS: &str = "#/components/schemas/";

/// Says of every field that may be null what it means where it is looked for, and that answers have
/// it always: what may be absent from them is never null.
pub(crate) fn complete(document: &mut Document) {
    let answered = answered(document);
    let Some(components) = &mut document.components else {
        return;
    };
    for (name, schema) in &mut components.schemas {
        if let Some(item) = name.strip_prefix("Page_") {
            objects(schema, &mut |page| refer_to_items(page, item));
        }
        objects(schema, &mut |object| {
            for (field, schema) in &mut object.properties {
                if let RefOr::T(Schema::OneOf(either)) = schema {
                    lift_description(either);
                }
                if answered.contains(name)
                    && is_nullable(schema)
                    && !object.required.contains(field)
                {
                    object.required.push(field.clone());
                }
            }
        });
    }
}

/// utoipa writes out what a page has; there is a schema of that.
fn refer_to_items(page: &mut Object, item: &str) {
    if let Some(RefOr::T(Schema::Array(items))) = page.properties.get_mut("items") {
        items.items = ArrayItems::RefOrSchema(Box::new(Ref::from_schema_name(item).into()));
    }
}

/// utoipa describes what an optional reference refers to, and not the field.
fn lift_description(either: &mut OneOf) {
    for item in &mut either.items {
        if let RefOr::Ref(reference) = item
            && either.description.is_none()
        {
            either.description = Some(std::mem::take(&mut reference.description))
                .filter(|description| !description.is_empty());
        }
    }
}

fn is_nullable(schema: &RefOr<Schema>) -> bool {
    let has_null = |kind: &SchemaType| match kind {
        SchemaType::Type(one) => *one == Type::Null,
        SchemaType::Array(any) => any.contains(&Type::Null),
        SchemaType::AnyValue => false,
    };
    match schema {
        RefOr::T(Schema::Object(object)) => has_null(&object.schema_type),
        RefOr::T(Schema::Array(array)) => has_null(&array.schema_type),
        RefOr::T(Schema::OneOf(either)) => either.items.iter().any(is_nullable),
        _ => false,
    }
}

/// The names of the schemas that are in an answer, at any depth.
fn answered(document: &Document) -> BTreeSet<String> {
    let mut open = Vec::new();
    for item in document.paths.paths.values() {
        let mut item = item.clone();
        for (_, operation) in crate::routes::operations(&mut item) {
            for response in operation.responses.responses.values() {
                if let RefOr::T(Response { content, .. }) = response {
                    for content in content.values() {
                        if let RefOr::T(content) = content
                            && let Some(schema) = &content.schema
                        {
                            references(schema, &mut open);
                        }
                    }
                }
            }
        }
    }
    let mut names = BTreeSet::new();
    while let Some(name) = open.pop() {
        let schema = document
            .components
            .as_ref()
            .and_then(|components| components.schemas.get(&name));
        if let Some(schema) = schema
            && names.insert(name)
        {
            references(schema, &mut open);
        }
    }
    names
}

fn references(schema: &RefOr<Schema>, names: &mut Vec<String>) {
    match schema {
        RefOr::Ref(reference) => {
            names.extend(
                reference
                    .ref_location
                    .strip_prefix(SCHEMAS)
                    .map(ToOwned::to_owned),
            );
        }
        RefOr::T(Schema::Object(object)) => {
            object
                .properties
                .values()
                .for_each(|it| references(it, names));
        }
        RefOr::T(Schema::Array(array)) => {
            if let ArrayItems::RefOrSchema(items) = &array.items {
                references(items, names);
            }
        }
        RefOr::T(Schema::OneOf(some)) => some.items.iter().for_each(|it| references(it, names)),
        RefOr::T(Schema::AllOf(some)) => some.items.iter().for_each(|it| references(it, names)),
        RefOr::T(Schema::AnyOf(some)) => some.items.iter().for_each(|it| references(it, names)),
        RefOr::T(_) => {}
    }
}

/// Does something to every object that a schema is put together from.
fn objects(schema: &mut RefOr<Schema>, then: &mut impl FnMut(&mut Object)) {
    let RefOr::T(schema) = schema else {
        return;
    };
    match schema {
        Schema::Object(object) => then(object),
        Schema::OneOf(some) => some.items.iter_mut().for_each(|it| objects(it, then)),
        Schema::AllOf(some) => some.items.iter_mut().for_each(|it| objects(it, then)),
        Schema::AnyOf(some) => some.items.iter_mut().for_each(|it| objects(it, then)),
        _ => {}
    }
}
