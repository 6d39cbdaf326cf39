//! SHUFFLE: passive views exchange contacts, so that they stay random and lose who has gone.

use super::Action;
use super::machine::{Hvp, Shuffled};
use super::message::{Contact, Control, PeerId};
use super::overlay::{SHUFFLES, with_ttl};
use super::{RECORDS_MAX, TTL_MAX};
use crate::error::{Error, Result};
use crate::primitives::mutant::mutant;
use crate::primitives::wire::List;

impl Hvp {
    /// Sends a SHUFFLE along a random link, and lets every neighbour send its share again.
    pub(super) fn shuffle(&mut self) {
        self.shuffled = None;
        for link in &mut self.active {
            link.shuffles = SHUFFLES;
        }
        let Some(to) = self.next_of_walk(&[]) else { return };
        let mut near: Vec<usize> = (0..self.active.len()).filter(|at| self.active[*at].contact.id != to).collect();
        self.chance.pick(&mut near, self.config.shuffle_active);
        near.truncate(self.config.shuffle_active);
        let mut records = vec![self.me.clone()];
        records.extend(near.into_iter().map(|at| self.active[at].contact.clone()));
        records.extend(self.some_spares(self.config.shuffle_passive));
        let nonce = self.chance.next();
        let named = records.iter().map(|record| record.id).collect();
        self.shuffled = Some(Shuffled { nonce, named });
        if let Ok(records) = List::new("hvp shuffle", records) {
            self.say(to, Control::Shuffle { ttl: self.config.shuffle_ttl, nonce, records });
        }
    }

    /// At most so many contacts of the passive view, chosen at random.
    fn some_spares(&mut self, count: usize) -> Vec<Contact> {
        let mut places: Vec<usize> = (0..self.passive.len()).collect();
        self.chance.pick(&mut places, count);
        places.into_iter().take(count).map(|at| self.passive[at].contact.clone()).collect()
    }

    /// A SHUFFLE walks on, or ends here and is answered.
    pub(super) fn take_shuffle(
        &mut self,
        sender: &PeerId,
        message: &[u8],
        ttl: u8,
        nonce: u64,
        records: &[Contact],
    ) -> Result<()> {
        let at = self.neighbour(sender, "SHUFFLE")?;
        if self.active[at].shuffles == 0 && !mutant!("hvp.shuffle-share") {
            return Err(Error::unavailable("hvp: a neighbour's share of SHUFFLEs in this period", 1, 0));
        }
        let Some(origin) = records.first().map(|record| record.id) else {
            return Err(Error::protocol("hvp: a SHUFFLE of nobody"));
        };
        let left = ttl.min(TTL_MAX).saturating_sub(1);
        let next = if left == 0 || origin == self.me.id { None } else { self.next_of_walk(&[*sender, origin]) };
        if let Some(next) = next {
            self.active[at].shuffles -= 1;
            self.send(next, with_ttl(message, left));
            return Ok(());
        }
        records.iter().try_for_each(|record| self.verify(record))?;
        self.active[at].shuffles = self.active[at].shuffles.saturating_sub(1);
        if origin == self.me.id {
            return Ok(());
        }
        let reply = self.some_spares(records.len().min(RECORDS_MAX));
        let named: Vec<PeerId> = reply.iter().map(|record| record.id).collect();
        for record in records.iter().rev() {
            self.learn(record, &named);
        }
        if let Ok(records) = List::new("hvp shuffle", reply) {
            self.say(origin, Control::ShuffleReply { nonce, records });
        }
        if !self.is_near(&origin) {
            self.outbox.push(Action::Close { peer: origin });
        }
        Ok(())
    }

    /// The contacts that come back: only for the SHUFFLE that is out.
    pub(super) fn take_shuffle_reply(&mut self, nonce: u64, records: Vec<Contact>) -> Result<()> {
        let out = self.shuffled.as_ref().is_some_and(|shuffled| shuffled.nonce == nonce);
        if !out && !mutant!("hvp.nonce") {
            return Err(Error::protocol("hvp: the answer to a SHUFFLE that is not out"));
        }
        records.iter().try_for_each(|record| self.verify(record))?;
        let named = self.shuffled.take().map(|shuffled| shuffled.named).unwrap_or_default();
        for record in &records {
            self.learn(record, &named);
        }
        Ok(())
    }

    /// Notes a contact that others have named. Those of `named` have been given away and go first.
    fn learn(&mut self, record: &Contact, named: &[PeerId]) {
        if let Some(at) = self.link_to(&record.id) {
            let known = &mut self.active[at].contact;
            if record.sequence > known.sequence {
                *known = record.clone();
            }
        }
        self.spare(record.clone(), 0, named);
    }
}
