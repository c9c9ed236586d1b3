//! Reading tables within a table.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Section, described};
use crate::config::keys::Table;
use crate::config::mistakes::{Mistake, Span};

impl<'f> Section<'f> {
    /// The table under `key`; its unknown keys are noted. A table that is missing reads as one
    /// without keys.
    pub(in crate::config) fn table(&self, key: &'static str, kind: Table) -> Self {
        let found = self.look(key).and_then(|(span, value)| {
            self.as_table(&self.name(key), value).map(|table| (span, table))
        });
        let section = self.within(key, kind, found);
        section.refuse_unknown();
        section
    }

    /// The table `[key.<name>]`, which the file does not have.
    pub(in crate::config) fn missing_child(
        &self,
        key: &'static str,
        name: &str,
        kind: Table,
    ) -> Self {
        self.within(key, kind, None).within(name, kind, None)
    }

    fn within(&self, name: &str, kind: Table, found: Option<(Span, &'f DeTable<'f>)>) -> Self {
        let (span, table) = found.map_or((0..0, None), |(span, table)| (span, Some(table)));
        let number = self.ledger.open(self.number, name, (kind, false), table.is_some());
        let (sink, ledger) = (self.sink, self.ledger);
        Self { path: self.name(name), table, kind, span, sink, ledger, number }
    }

    fn as_table(&self, name: &str, value: &'f Spanned<DeValue<'f>>) -> Option<&'f DeTable<'f>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            let found = described(value.get_ref());
            let title = format!("`{name}` must be a table, not {found}");
            let help = format!("write `[{name}]`, and its keys below");
            self.sink.note(Mistake::at(&value.span(), title).label(found).help(help));
        }
        table
    }

    /// The tables `[key.<name>]`, in file order; nothing if there is no table `key` at all.
    pub(in crate::config) fn children(
        &self,
        key: &'static str,
        kind: Table,
    ) -> Option<Vec<(String, Self)>> {
        let (span, value) = self.look(key)?;
        let table = self.as_table(&self.name(key), value);
        let mut entries: Vec<_> = table.into_iter().flat_map(DeTable::iter).collect();
        entries.sort_by_key(|(key, value)| first_mention(key.span().start, value));
        let parent = self.within(key, kind, table.map(|table| (span, table)));
        let child = |(key, value): (&'f Spanned<_>, &'f Spanned<DeValue<'f>>)| {
            let name: &std::borrow::Cow<'_, str> = key.get_ref();
            let Some(table) = value.get_ref().as_table() else {
                parent.misplaced(name, &key.span(), value);
                return None;
            };
            let section = parent.within(name, kind, Some((key.span(), table)));
            section.refuse_unknown();
            Some((name.to_string(), section))
        };
        Some(entries.into_iter().filter_map(child).collect())
    }

    /// Something that is no table stands where only named tables do.
    fn misplaced(&self, name: &str, span: &Span, value: &Spanned<DeValue<'_>>) {
        let found = described(value.get_ref());
        let title = format!("`{}` must be a table, not {found}", self.name(name));
        let help = if self.kind.keys().contains(&name) {
            format!("write `[{}.default]` above it, or another name", self.path)
        } else {
            format!("write `[{}]`, and its keys below", self.name(name))
        };
        self.sink.note(Mistake::at(span, title).label("no table").help(help));
    }

    /// The tables `[[key]]`, in file order.
    pub(in crate::config) fn items(&self, key: &'static str, kind: Table) -> Vec<Self> {
        let Some((span, value)) = self.look(key) else {
            return Vec::new();
        };
        let path = self.name(key);
        let mistaken = |value: &Spanned<DeValue<'_>>, span: &Span| {
            let found = described(value.get_ref());
            let title = format!("`{path}` must be a list of tables, not {found}");
            let help = format!("write `[[{path}]]` above each, in two pairs of brackets");
            self.sink.note(Mistake::at(span, title).label(found).help(help));
        };
        let Some(list) = value.get_ref().as_array() else {
            mistaken(value, &span);
            return Vec::new();
        };
        let mut sections = Vec::with_capacity(list.len());
        for item in list {
            let Some(table) = item.get_ref().as_table() else {
                mistaken(item, &item.span());
                continue;
            };
            let (path, span, sink, ledger) = (path.clone(), item.span(), self.sink, self.ledger);
            let number = ledger.open(self.number, key, (kind, true), true);
            let section = Self { path, table: Some(table), kind, span, sink, ledger, number };
            section.refuse_unknown();
            sections.push(section);
        }
        sections
    }
}

/// Where a table is first spoken of. The place of its key is that of its own header, but the
/// header of a table within may stand above.
fn first_mention(key: usize, value: &Spanned<DeValue<'_>>) -> usize {
    let within = value.get_ref().as_table().into_iter().flat_map(DeTable::iter);
    within.fold(key, |first, (key, value)| first.min(first_mention(key.span().start, value)))
}
