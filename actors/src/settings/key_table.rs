//! A table of keys: one entry declares a key; reading, comparing and documenting it are derived from the entry.
//!
//! `values.rs` has the entries. The macro turns each table into a struct with a field for each entry. The struct can be read from a
//! file, compared with another, and shown in `docs/configuration.md`.

use super::yaml::Section;

/// When a changed value of a key applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applies {
    /// From the next message, turn or drain.
    AtOnce,
    /// From the next start of the process.
    AtStart,
    /// A mapping: each of its keys has its own.
    PerKey,
}

/// The declaration of one key, beside its type, its form and its default.
#[derive(Debug, Clone)]
pub(super) struct KeyEntry {
    /// The path of the key in the file.
    pub(super) key: &'static str,
    pub(super) applies: Applies,
    /// The sentences of its documentation.
    pub(super) doc: String,
}

/// A line of the table of keys in `docs/configuration.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyRow {
    pub(super) keys: Vec<String>,
    pub(super) default: String,
    pub(super) applies: Applies,
    pub(super) doc: String,
}

impl KeyEntry {
    /// Its line in the documentation.
    pub(super) fn row(&self, default: String) -> KeyRow {
        KeyRow { keys: vec![self.key.to_owned()], default, applies: self.applies, doc: self.doc.clone() }
    }
}

impl KeyRow {
    /// As a line of a table in Markdown.
    pub(super) fn markdown(&self) -> String {
        let keys: Vec<_> = self.keys.iter().map(|key| format!("`{key}`")).collect();
        let applies = match self.applies {
            Applies::AtOnce => "at once",
            Applies::AtStart => "at the next start",
            Applies::PerKey => "by key",
        };
        format!("| {} | {} | {applies} | {} |\n", keys.join(", "), self.default, self.doc)
    }
}

/// A key whose value changed.
pub(super) type ChangedKey = (&'static str, Applies);

/// How the value of a key is written in the file, with its bounds.
pub(super) trait Form<T: Clone + PartialEq> {
    /// Takes the value out of `section`. A missing value is `None`; a value out of bounds is reported and is also `None`. `otherwise`
    /// is the value that applies in these cases.
    fn read(&self, section: &mut Section<'_>, key: &'static str, otherwise: &T) -> Option<T>;

    /// Its lines in the documentation; `default` is shown as it would be written.
    fn rows(&self, entry: &KeyEntry, default: &T) -> Vec<KeyRow>;

    /// The keys whose value is different in `now`.
    fn changes(&self, entry: &KeyEntry, before: &T, now: &T) -> Vec<ChangedKey> {
        if before == now { Vec::new() } else { vec![(entry.key, entry.applies)] }
    }

    /// Keeps the value of the start, if a changed one applies at the next start only.
    fn keep(&self, entry: &KeyEntry, first: &T, now: &mut T) {
        if entry.applies == Applies::AtStart {
            *now = first.clone();
        }
    }
}

/// A struct generated from a table of keys.
pub(super) trait KeyTable: Clone + PartialEq {
    /// Takes every key out of `section`; missing keys are as in `otherwise`.
    fn read(section: &mut Section<'_>, otherwise: &Self) -> Self;

    /// The lines of its keys in the documentation, with these defaults.
    fn rows(&self) -> Vec<KeyRow>;

    /// The keys whose values are different in `now`, in the order of the table.
    fn changes(&self, now: &Self) -> Vec<ChangedKey>;

    /// Keeps the values of `first` for the keys that apply at the next start only.
    fn keep(&mut self, first: &Self);
}

/// A mapping that has a table of its own. If its entry has [`Applies::PerKey`], a change names the key, otherwise the mapping.
pub(super) struct Mapping;

impl<T: KeyTable> Form<T> for Mapping {
    fn read(&self, section: &mut Section<'_>, key: &'static str, otherwise: &T) -> Option<T> {
        let mut inner = section.section(local(key));
        let read = T::read(&mut inner, otherwise);
        inner.finish();
        Some(read)
    }

    fn rows(&self, _: &KeyEntry, default: &T) -> Vec<KeyRow> {
        default.rows()
    }

    fn changes(&self, entry: &KeyEntry, before: &T, now: &T) -> Vec<ChangedKey> {
        match entry.applies {
            Applies::PerKey => before.changes(now),
            Applies::AtOnce | Applies::AtStart if before == now => Vec::new(),
            Applies::AtOnce | Applies::AtStart => vec![(entry.key, entry.applies)],
        }
    }

    fn keep(&self, _: &KeyEntry, first: &T, now: &mut T) {
        now.keep(first);
    }
}

/// The last part of a path: the name of the key within its section.
pub(super) fn local(key: &'static str) -> &'static str {
    key.rsplit_once('.').map_or(key, |(_, local)| local)
}

/// Makes a struct of a table of keys. An entry is its documentation, then `field: Type = "key", form, default, when a change applies;`.
macro_rules! key_table {
    (
        $(#[$meta:meta])*
        $vis:vis struct $Name:ident $(, checked by $check:path)? {
            $($(#[doc = $doc:literal])+ $field:ident: $Type:ty = $key:literal, $form:expr, $default:expr, $applies:ident;)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        $vis struct $Name {
            $($(#[doc = $doc])+ $vis $field: $Type,)+
        }

        impl Default for $Name {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl $crate::settings::key_table::KeyTable for $Name {
            fn read(section: &mut $crate::settings::yaml::Section<'_>, otherwise: &Self) -> Self {
                use $crate::settings::key_table::Form;
                let read = Self {
                    $($field: Form::<$Type>::read(&$form, section, $key, &otherwise.$field)
                        .unwrap_or_else(|| otherwise.$field.clone()),)+
                };
                $($check(&read, section);)?
                read
            }

            fn rows(&self) -> Vec<$crate::settings::key_table::KeyRow> {
                use $crate::settings::key_table::Form;
                let mut rows = Vec::new();
                $(rows.extend(Form::<$Type>::rows(&$form, &key_table!(@entry $($doc)+, $key, $applies), &self.$field));)+
                rows
            }

            fn changes(&self, now: &Self) -> Vec<$crate::settings::key_table::ChangedKey> {
                use $crate::settings::key_table::Form;
                let mut changes = Vec::new();
                $(changes.extend(Form::<$Type>::changes(
                    &$form, &key_table!(@entry $($doc)+, $key, $applies), &self.$field, &now.$field,
                ));)+
                changes
            }

            fn keep(&mut self, first: &Self) {
                use $crate::settings::key_table::Form;
                $(Form::<$Type>::keep(
                    &$form, &key_table!(@entry $($doc)+, $key, $applies), &first.$field, &mut self.$field,
                );)+
            }
        }
    };
    (@entry $($doc:literal)+, $key:literal, $applies:ident) => {
        $crate::settings::key_table::KeyEntry {
            key: $key,
            applies: $crate::settings::key_table::Applies::$applies,
            doc: concat!($($doc),+).trim().to_owned(),
        }
    };
}
