// The ledger's page: its bill.

import { showBill } from "./bill.js";
import { $ } from "./dom.js";
import { readAddress } from "./state.js";

readAddress();
showBill($("bill"), ({ place }) => {
  $("about").textContent = place;
  $("about").title = place;
});
