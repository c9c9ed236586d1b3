//! What is typed after `/`: which agents are shown.

use crate::cli::select::Selection;
use crate::control::selects;
use crate::proto::control as pb;

/// Which agents are shown; all of them where nothing was typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Filter {
    text: String,
    selector: pb::Selector,
}

impl Filter {
    /// Reads what was typed.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let selector = Selection::of_words(text.split_whitespace())?.selector();
        Ok(Self { text: text.to_owned(), selector })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn is_empty(&self) -> bool {
        self.selector == pb::Selector::default()
    }

    pub(super) fn fits(&self, agent: &pb::Agent) -> bool {
        let about = (agent.name.as_str(), &*agent.template, &*agent.r#type, &*agent.phase);
        selects(Some(&self.selector), about)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parts_of_names_and_conditions() {
        let agent = pb::Agent {
            name: "wolf-7".to_owned(),
            template: "wolves".to_owned(),
            r#type: "wolf".to_owned(),
            phase: "BackingOff".to_owned(),
            ..pb::Agent::default()
        };
        for (text, fits) in [
            ("", true),
            ("  ", true),
            ("olf", true),
            ("sheep", false),
            ("sheep wolf", true),
            ("wolf", true),
            ("w*7", true),
            ("w*", true),
            ("olf*", false),
            ("phase=backingoff", true),
            ("phase=", true),
            ("phase=Running,", false),
            ("type=wolf,template=wolves", true),
            ("type=wolf template=sheep", false),
            ("phase=BackingOff 7", true),
            ("phase=BackingOff 8", false),
        ] {
            assert_eq!(Filter::parse(text).unwrap().fits(&agent), fits, "{text:?}");
        }
        let wrong = Filter::parse("colour=red").unwrap_err();
        assert_eq!(wrong, "`colour` is none of `template`, `type`, `phase`");
    }
}
