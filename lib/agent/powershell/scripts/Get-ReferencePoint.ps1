<#
.SYNOPSIS
    The reference points of these VMs that are there now.
.DESCRIPTION
    Input: { settings, vmIds }. Output: { referencePoints: [...] }.
    Source: hyperv.md 1.1 (Msvm_ReferencePointOfVirtualSystem, Msvm_CollectedReferencePoints), 1.5.
    With the record of the conversion the answer has its tag, time and shared disks; a private disk is checked against the
    live tracking ids, a shared one against the entries of its VHD Set. Without a record: private disks by the VM's disk
    InstanceIDs, shared disks by the entry with the same tracking id (INFERRED, hyperv.md 4.1).
#>
#requires -Version 5.1
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)] [ValidatePattern('^[A-Za-z0-9+/]+=*$')] [string] $Payload,
    [Parameter(Mandatory = $true)] [ValidatePattern('^[0-9a-f]+$')] [string] $Call
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Protocol.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Wmi.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.State.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.HyperV.psm1'))

Invoke-GcbVerb -Payload $Payload -Call $Call -Body {
    param([pscustomobject] $Request)
    $namespace = $Request.settings.collectionNamespace
    $images = Get-GcbService -Namespace $Request.settings.namespace -ClassName Msvm_ImageManagementService
    $records = @(Get-GcbRecord -StateDirectory $Request.settings.stateDirectory -Kind 'reference-points')
    $groups = [ordered]@{}
    foreach ($vmId in @($Request.vmIds)) {
        $system = Get-GcbVirtualSystem -Namespace $namespace -VmId $vmId
        if ($null -eq $system) { continue }
        foreach ($point in @(Get-GcbReferencePoint -VirtualSystem $system)) {
            # ReferencePointType 2 = RCT; a replica's log points are not ours. Source: hyperv.md 1.5.
            if ([int]$point.ReferencePointType -ne 2) { continue }
            $groupId = Get-GcbReferencePointGroup -ReferencePoint $point -VmId $vmId
            if (-not $groups.Contains($groupId)) { $groups[$groupId] = New-Object -TypeName System.Collections.ArrayList }
            [void]$groups[$groupId].Add([pscustomobject]@{ system = $system; point = $point; vmId = [string]$vmId })
        }
    }
    $setEntries = @{}
    $found = New-Object -TypeName System.Collections.ArrayList
    foreach ($groupId in @($groups.Keys)) {
        $members = $groups[$groupId].ToArray()
        $record = Find-GcbReferenceRecord -Records $records -GroupId $groupId -VmId $members[0].vmId
        $disks = New-Object -TypeName System.Collections.ArrayList
        $seen = @{}
        foreach ($member in $members) {
            $ids = @{}
            try { $ids = Get-GcbTrackingId -ReferencePoint $member.point }
            catch {
                # A reference point that contradicts itself is found, but names no disk: those are read completely.
                if (-not (Test-GcbErrorCode -ErrorRecord $_ -Code 'HV_REFERENCE_POINT_LOST')) { throw }
            }
            foreach ($disk in @(Get-GcbDiskAllocation -Setting (Get-GcbRealizedSetting -VirtualSystem $member.system))) {
                $path = [string]@($disk.HostResource)[0]
                $isSet = Test-GcbVhdSetPath -Path $path
                $rctId = Find-GcbTrackingId -TrackingIds $ids -DiskInstanceId ([string]$disk.InstanceID)
                $diskId = Get-GcbDiskId -ImageService $images -Path $path -VhdSetOrder $Request.settings.vhdSetOrder
                $id = [string]$member.point.InstanceID
                if ($isSet) {
                    if ($seen.ContainsKey($diskId)) { continue }
                    if (-not $setEntries.ContainsKey($path)) { $setEntries[$path] = @(Get-GcbVhdSetEntry -ImageService $images -Path $path) }
                    $wantedId = ''
                    if ($null -ne $record) {
                        foreach ($known in @($record.disks)) { if ($known.shared -and $known.diskId -eq $diskId) { $wantedId = [string]$known.id } }
                    }
                    $entry = @($setEntries[$path] | Where-Object -FilterScript { ($wantedId -ne '' -and $_.snapshotId -eq $wantedId) -or ($wantedId -eq '' -and $rctId -ne '' -and $_.rctId -eq $rctId) })
                    if ($entry.Count -ne 1 -or $entry[0].rctId -eq '') { continue }
                    $id = $entry[0].snapshotId
                    $rctId = $entry[0].rctId
                    $seen[$diskId] = $true
                }
                if ($rctId -eq '') { continue }
                [void]$disks.Add([ordered]@{ diskId = $diskId; path = $path; shared = $isSet; id = $id; rctId = $rctId })
            }
        }
        if ($null -ne $record -and [string]$record.referencePointCollectionId -eq '') {
            # The intent has found its result: from now on the record names it, so that a removal finds the sets' entries too.
            $completed = [ordered]@{
                tag                        = [string]$record.tag
                snapshotCollectionId       = [string]$record.snapshotCollectionId
                referencePointCollectionId = $groupId
                before                     = @()
                createdAtMs                = [long]$record.createdAtMs
                disks                      = $disks.ToArray()
                checkpointDisks            = @($record.checkpointDisks)
            }
            Save-GcbRecord -StateDirectory $Request.settings.stateDirectory -Kind 'reference-points' -Tag $groupId -Record $completed
            Remove-GcbRecord -StateDirectory $Request.settings.stateDirectory -Kind 'reference-points' -Tag ('intent/' + $record.snapshotCollectionId)
        }
        [void]$found.Add([ordered]@{
                referencePointCollectionId = $groupId
                tag                        = if ($null -eq $record) { '' } else { [string]$record.tag }
                createdAtMs                = if ($null -eq $record) { 0 } else { [long]$record.createdAtMs }
                disks                      = $disks.ToArray()
            })
    }
    [ordered]@{ referencePoints = $found.ToArray() }
}
