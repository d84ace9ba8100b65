// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title Livepeer Token (LPT), 18 decimals: the stake
interface ILivepeerToken is IERC20 {
    /// @notice `amount` LPT wei were created for `to`.
    event Mint(address indexed to, uint256 amount);
    /// @notice `amount` LPT wei of `burner` were destroyed.
    event Burn(address indexed burner, uint256 amount);

    /// @notice Create `amount` LPT wei for `to`. MINTER_ROLE only.
    function mint(address to, uint256 amount) external;

    /// @notice Destroy `amount` LPT wei of the caller. BURNER_ROLE only.
    function burn(uint256 amount) external;

    /// @notice Destroy `amount` LPT wei of `from` out of the caller's allowance. BURNER_ROLE only.
    /// @dev The deployed token needs no allowance here; that is a known fault.
    function burnFrom(address from, uint256 amount) external;
}
