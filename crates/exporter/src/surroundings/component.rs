//! Where what belongs to a component goes, and how calls name it.

use convault_convex_client::ComponentRow;

/// The folder of a component: nothing for the root, else `_components/outer/_components/inner/`, as in an export.
pub(crate) fn folder(component: &ComponentRow) -> String {
    let names = component.path.split('/').filter(|name| !name.is_empty());
    names.fold(String::new(), |folder, name| folder + "_components/" + name + "/")
}

/// How calls name a component: the root not at all.
pub(crate) fn id(component: &ComponentRow) -> Option<&str> {
    (!component.path.is_empty()).then_some(component.id.as_str())
}

#[cfg(test)]
mod tests {
    use convault_convex_client::ComponentRow;

    use super::{folder, id};

    #[test]
    fn a_component_is_below_the_one_it_is_in() {
        let row = |path: &str| ComponentRow { path: path.to_owned(), id: "c1".to_owned() };
        assert_eq!((folder(&row("")).as_str(), id(&row(""))), ("", None));
        assert_eq!(folder(&row("outer/inner")), "_components/outer/_components/inner/");
        assert_eq!(id(&row("outer")), Some("c1"));
    }
}
