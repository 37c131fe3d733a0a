//! The sources as a graph: which file imports which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// The crates of the workspace by their names in code, and the directory of the sources of each.
pub(crate) const CRATES: [(&str, &str); 5] = [
    ("caduceus", "src"),
    ("caduceus_actors", "actors/src"),
    ("caduceus_connector", "actors/connector/src"),
    ("caduceus_contract", "actors/contract/src"),
    ("caduceus_supervision", "actors/supervision/src"),
];

/// A module by its path, the crate's name first: `caduceus_actors::drain::plan`.
pub(crate) type Module = Vec<String>;

/// One file, without what is compiled only for tests.
#[derive(Debug, Clone, Default)]
pub(crate) struct File {
    /// Every path it names whose crate is known: `std::env::vars`, `caduceus::http::Ports`.
    pub(crate) named: BTreeSet<Module>,
    /// Every path through a module that it declares and names without `self`: `routes::configure` in `mod.rs`.
    below: BTreeSet<Module>,
    /// Its re-exports: name to path.
    re_exports: BTreeMap<String, Module>,
    /// Modules that it declares only for tests.
    tests: BTreeSet<Module>,
}

/// Every file of a set of crates.
#[derive(Debug, Clone, Default)]
pub(crate) struct SourceTree(pub(crate) BTreeMap<Module, File>);

impl SourceTree {
    /// Reads every file below `folder`, the `src` of the crate `name`.
    pub(crate) fn read(&mut self, name: &str, folder: &Path) {
        let mut left = vec![folder.to_owned()];
        while let Some(folder_or_file) = left.pop() {
            if folder_or_file.is_dir() {
                left.extend(std::fs::read_dir(&folder_or_file).unwrap().map(|entry| entry.unwrap().path()));
            } else if folder_or_file.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&folder_or_file).unwrap();
                self.add(module(name, folder_or_file.strip_prefix(folder).unwrap()), &text);
            }
        }
    }

    /// Adds one file, as if it had been read.
    pub(crate) fn add(&mut self, module: Module, text: &str) {
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{}: {error}", module.join("::")));
        let modules = parsed.items.iter().filter_map(|item| match item {
            syn::Item::Mod(item) => Some(item.ident.to_string()),
            _ => None,
        });
        let modules = modules.collect();
        let mut reader = SourceVisitor { home: module.clone(), at: module.clone(), modules, file: File::default() };
        reader.visit_file(&parsed);
        self.0.insert(module, reader.file);
    }

    /// Removes the files that are compiled only for tests.
    pub(crate) fn without_tests(mut self) -> Self {
        let tests: BTreeSet<Module> = self.0.values().flat_map(|file| file.tests.clone()).collect();
        self.0.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
        self
    }

    /// The file that a path leads to, followed through the re-exports of `mod.rs` files.
    pub(crate) fn leads_to(&self, path: &[String]) -> Option<Module> {
        let mut path = path.to_vec();
        for _ in 0..8 {
            let length = (1..=path.len()).rev().find(|&length| self.0.contains_key(&path[..length]))?;
            let next = path.get(length).and_then(|name| self.0[&path[..length]].re_exports.get(name));
            match next {
                Some(next) => path = next.iter().chain(&path[length + 1..]).cloned().collect(),
                None => return Some(path[..length].to_vec()),
            }
        }
        panic!("{} is re-exported in a cycle", path.join("::"));
    }

    /// The files that each file imports, without itself and the root of its crate.
    pub(crate) fn imports(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        self.imports_by(|file| file.named.iter().collect())
    }

    /// The same with what a file names through its own modules, as a `mod.rs` does.
    pub(crate) fn imports_with_own_modules(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        self.imports_by(|file| file.named.iter().chain(&file.below).collect())
    }

    fn imports_by<'f>(&'f self, paths: impl Fn(&'f File) -> Vec<&'f Module>) -> BTreeMap<Module, BTreeSet<Module>> {
        let of = |module: &Module, file: &'f File| {
            let targets = paths(file).into_iter().filter_map(|path| self.leads_to(path));
            targets.filter(|target| target != module && target.len() > 1).collect()
        };
        self.0.iter().map(|(module, file)| (module.clone(), of(module, file))).collect()
    }
}

/// The module of a file, from its path below `src`.
fn module(name: &str, place: &Path) -> Module {
    let mut parts: Vec<String> = PathBuf::from(place)
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_str().unwrap().to_owned())
        .collect();
    if parts.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        parts.pop();
    }
    std::iter::once(name.to_owned()).chain(parts).collect()
}

struct SourceVisitor {
    /// The file's own module.
    home: Module,
    /// The current module, including inline modules.
    at: Module,
    /// The names of the modules that the file declares.
    modules: BTreeSet<String>,
    file: File,
}

impl SourceVisitor {
    /// A path from the crate root: `crate`, `self` and `super` resolved.
    fn spelled_out(&self, path: &[String]) -> Module {
        let mut from = self.at.clone();
        let mut left = path;
        while let Some((first, rest)) = left.split_first() {
            match first.as_str() {
                "crate" => from.truncate(1),
                "self" => {}
                "super" => {
                    from.pop();
                }
                _ if left.len() == path.len() => return path.to_vec(),
                _ => break,
            }
            left = rest;
        }
        from.extend_from_slice(left);
        from
    }

    fn use_tree(&mut self, tree: &syn::UseTree, before: &[String], public: bool) {
        let with = |name: &syn::Ident| before.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
        match tree {
            syn::UseTree::Path(path) => self.use_tree(&path.tree, &with(&path.ident), public),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.use_tree(tree, before, public)),
            syn::UseTree::Glob(_) => self.name(&[before, &["*".to_owned()]].concat()),
            syn::UseTree::Name(name) if name.ident == "self" => self.name(before),
            syn::UseTree::Name(name) => self.import(&with(&name.ident), name.ident.to_string(), public),
            syn::UseTree::Rename(rename) => self.import(&with(&rename.ident), rename.rename.to_string(), public),
        }
    }

    fn import(&mut self, path: &[String], name: String, public: bool) {
        if public {
            // A file's own module may be re-exported without `self::`.
            let own = self.at.iter().chain(path).cloned().collect();
            let ours = CRATES.iter().any(|(name, _)| path[0] == *name);
            let relative = !ours && !matches!(path[0].as_str(), "crate" | "self" | "super");
            let path = if relative { own } else { self.spelled_out(path) };
            self.file.re_exports.insert(name, path);
        } else {
            self.name(path);
        }
    }

    fn name(&mut self, path: &[String]) {
        // A name alone may be a variable's.
        let through_own = path.len() > 1 && self.modules.contains(&path[0]);
        if self.at == self.home && through_own {
            self.file.below.insert(self.home.iter().chain(path).cloned().collect());
        }
        let path = self.spelled_out(path);
        self.file.named.insert(path);
    }
}

impl Visit<'_> for SourceVisitor {
    fn visit_item(&mut self, item: &syn::Item) {
        let attributes = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !attributes.iter().any(only_for_tests) {
            visit::visit_item(self, item);
        } else if let syn::Item::Mod(item) = item {
            self.file.tests.insert(self.at.iter().cloned().chain([item.ident.to_string()]).collect());
        }
    }

    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        self.at.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.at.pop();
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        let public = !matches!(item.vis, syn::Visibility::Inherited) && self.at == self.home;
        self.use_tree(&item.tree, &[], public);
    }

    // `pub(in crate::http)` imports nothing.
    fn visit_visibility(&mut self, _: &syn::Visibility) {}

    fn visit_path(&mut self, path: &syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.name(&names);
        visit::visit_path(self, path);
    }
}

fn only_for_tests(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
}
