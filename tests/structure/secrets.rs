//! No message returns a secret: the result of each is checked, down to the fields of the workspace's own types.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

use crate::source::CRATES;

/// Types that hold a secret.
const SECRET: [&str; 2] = ["SecretString", "SecretBox"];
/// Types that hold secrets and return none: the first only takes values, the second only writes to its own pipe.
const WRITE_ONLY: [&str; 2] = ["Redactor", "AgentInput"];
/// The allowed results, and why.
const ALLOWED: [(&str, &str); 2] = [
    // The upgrade token is valid for 300 s; the link sends it to the connector.
    ("PrepareDial", "ConnectParams"),
    // The access token of a grant, on its way into the profile.
    ("FreshToken", "FreshAnswer"),
];

/// The types of a set of sources: the result of each message, and the types that each type contains.
#[derive(Default)]
struct Types {
    answers: BTreeMap<(String, usize), BTreeSet<String>>,
    /// By name and file: private types of two files may have the same name.
    parts: BTreeMap<(String, usize), BTreeSet<String>>,
    /// The folder of each file, counted from 1.
    folders: Vec<PathBuf>,
    /// Names that a file imports from other crates.
    foreign: BTreeSet<(String, usize)>,
    /// The number of files of the contract, which are read first; they can name no type of the others.
    contract: usize,
}

impl Types {
    fn read(&mut self, folder: &Path) {
        let mut left: Vec<PathBuf> = vec![folder.to_owned()];
        while let Some(path) = left.pop() {
            if path.is_dir() {
                left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                self.add(path.parent().unwrap(), &std::fs::read_to_string(&path).unwrap());
            }
        }
    }

    fn add(&mut self, folder: &Path, source: &str) {
        self.folders.push(folder.to_owned());
        self.visit_file(&syn::parse_file(source).unwrap());
    }

    fn of(&mut self, name: &syn::Ident, attributes: &[syn::Attribute], fields: BTreeSet<String>) {
        let key = (name.to_string(), self.folders.len());
        self.parts.entry(key.clone()).or_default().extend(fields);
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("rtype")) {
            let _ = attribute.parse_nested_meta(|meta| {
                let text: syn::LitStr = meta.value()?.parse()?;
                let named = named(&syn::parse_str::<syn::Type>(&text.value())?);
                self.answers.entry(key.clone()).or_default().extend(named);
                Ok(())
            });
        }
    }

    /// The messages whose result holds a secret, each with the outermost type that does.
    fn revealing(&self) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        for ((message, file), answers) in &self.answers {
            for answer in answers.iter().filter(|answer| self.holds(answer, *file, &mut BTreeSet::new())) {
                found.insert((message.clone(), answer.clone()));
            }
        }
        found
    }

    /// Whether a type, as named in a file, holds a secret. Types of the same name are distinguished by where they are defined: in
    /// the file itself, in its folder, otherwise it may be any.
    fn holds(&self, name: &str, file: usize, seen: &mut BTreeSet<(String, usize)>) -> bool {
        if SECRET.contains(&name) {
            return true;
        }
        if WRITE_ONLY.contains(&name) || self.foreign.contains(&(name.to_owned(), file)) {
            return false;
        }
        let distance = |other: usize| {
            if other == file { 0 } else { 1 + usize::from(self.folders[other - 1] != self.folders[file - 1]) }
        };
        let visible = |other: usize| file > self.contract || other <= self.contract;
        let named: Vec<_> = self.parts.keys().filter(|key| key.0 == name && visible(key.1)).collect();
        let nearest = named.iter().map(|key| distance(key.1)).min();
        named
            .into_iter()
            .filter(|key| Some(distance(key.1)) == nearest)
            .any(|key| seen.insert(key.clone()) && self.parts[key].iter().any(|part| self.holds(part, key.1, seen)))
    }
}

impl Visit<'_> for Types {
    fn visit_item_struct(&mut self, item: &syn::ItemStruct) {
        let fields = item.fields.iter().flat_map(|field| named(&field.ty)).collect();
        self.of(&item.ident, &item.attrs, fields);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &syn::ItemEnum) {
        let fields = item.variants.iter().flat_map(|variant| variant.fields.iter());
        let fields = fields.flat_map(|field| named(&field.ty)).collect();
        self.of(&item.ident, &item.attrs, fields);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        let syn::UseTree::Path(path) = &item.tree else { return };
        let ours = ["crate", "super", "self", "caduceus_actors", "caduceus_contract"];
        if ours.into_iter().all(|ours| path.ident != ours) {
            let file = self.folders.len();
            self.foreign.extend(leaves(&path.tree).into_iter().map(|name| (name, file)));
        }
    }

    fn visit_item_type(&mut self, item: &syn::ItemType) {
        self.of(&item.ident, &item.attrs, named(&item.ty));
    }
}

/// The names of an import.
fn leaves(tree: &syn::UseTree) -> Vec<String> {
    match tree {
        syn::UseTree::Path(path) => leaves(&path.tree),
        syn::UseTree::Name(name) => vec![name.ident.to_string()],
        syn::UseTree::Rename(rename) => vec![rename.rename.to_string()],
        syn::UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
        syn::UseTree::Glob(_) => Vec::new(),
    }
}

/// Every type that a type contains, by the last segment of its path.
fn named(of: &syn::Type) -> BTreeSet<String> {
    struct PathNames(BTreeSet<String>);
    impl Visit<'_> for PathNames {
        fn visit_path_segment(&mut self, segment: &syn::PathSegment) {
            self.0.insert(segment.ident.to_string());
            visit::visit_path_segment(self, segment);
        }
    }
    let mut names = PathNames(BTreeSet::new());
    names.visit_type(of);
    names.0
}

#[test]
fn only_two_messages_return_a_token_and_none_another_secret() {
    let mut types = Types::default();
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    types.read(&top.join("actors/contract/src"));
    types.contract = types.folders.len();
    types.read(&top.join("actors/src"));
    assert!(types.answers.len() > 30, "the messages were found: {:?}", types.answers.keys());
    let allowed = ALLOWED.map(|(message, answer)| (message.to_owned(), answer.to_owned()));
    assert_eq!(types.revealing(), BTreeSet::from(allowed));
}

/// A build script could copy the environment into the binary; the other bans do not cover it.
#[test]
fn no_package_has_a_build_script() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (_, sources) in CRATES {
        let package = top.join(sources).parent().unwrap().to_owned();
        assert!(package.join("Cargo.toml").is_file() && !package.join("build.rs").exists(), "{}", package.display());
        let manifest = std::fs::read_to_string(package.join("Cargo.toml")).unwrap();
        assert!(!manifest.contains("build ="), "{}", package.display());
    }
}

#[test]
fn an_answer_that_holds_a_secret_deep_inside_is_found() {
    for answer in ["Deep", "Result<Vec<Deep>, E>", "Option<Arc<SecretString>>"] {
        let mut types = Types::default();
        types.add(
            Path::new("."),
            &format!(
                "#[derive(Message)] #[rtype(result = \"{answer}\")] struct Ask; \
             struct Deep {{ inner: Box<Inner> }} enum Inner {{ No, Yes(SecretString), Again(Box<Deep>) }}"
            ),
        );
        assert_eq!(types.revealing().len(), 1, "{answer}");
    }
}
